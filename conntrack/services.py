"""Which Service port a flow was sent to: every frontend of the plans, ready to be asked by packed address.

Exact address and port come before NodePorts, as for packets; a NodePort counts
only on the addresses of this node that take NodePorts. Building takes what is
unchanged from the previous index, so that one changed Service costs one Service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from conntrack.entry import packed
from kproxy.core.plan import FrontendKind, NodePlan, PortPlan, ServicePlan
from kproxy.core.values import ObjectKey, Value, family_of

Socket = tuple[bytes, int]
"""A packed address and a port."""
Claim = tuple[int, bytes, int]
"""Protocol number, packed address (one byte, the IP version, stands for a NodePort), port."""

_IPV4_LENGTH = 4
_LOOPBACK_NET = 127


class Door(Value, frozen=True):
    """A Service port as flows meet it: who it is, and all endpoints that may still answer for it."""

    service: ObjectKey
    port: str
    """The port's name, empty where it has none."""
    protocol: str
    serving: bytes
    """Their records (`_record`) in order, end to end: a set of tuples takes ten times the room, at every agent."""

    def serves(self, endpoint: Socket) -> bool:
        """Whether this endpoint may still answer; of the family of the door's own."""
        record = _record(*endpoint)
        at = self.serving.find(record)
        while at > 0 and at % len(record):
            at = self.serving.find(record, at + 1)
        return at >= 0

    def __str__(self) -> str:
        return f"{self.service}:{self.port}" if self.port else str(self.service)


Made = tuple[ServicePlan, tuple[tuple[Claim, Door], ...]]
"""A ServicePlan and what it came to."""


class Services(Value, frozen=True):
    """The frontends of some plans; made by `index`."""

    doors: Mapping[Claim, Door]
    node_port_addresses: frozenset[bytes]
    loopback_node_ports: bool
    made_of: Mapping[tuple[int, ObjectKey], Made]
    """What each ServicePlan came to, by IP version and Service: the next index takes it from here."""

    def door(self, protocol: int, address: bytes, port: int | None) -> Door | None:
        """The Service port that takes new connections to this address and port; None if none does."""
        if port is None:
            return None
        exact = self.doors.get((protocol, address, port))
        if exact is not None or not self.takes_node_ports(address):
            return exact
        return self.doors.get((protocol, _any_address(address), port))

    def takes_node_ports(self, address: bytes) -> bool:
        """Whether NodePorts are served on this address; loopback by its own switch, IPv4 only."""
        if len(address) == _IPV4_LENGTH and address[0] == _LOOPBACK_NET:
            return self.loopback_node_ports
        return address in self.node_port_addresses


def index(plans: Iterable[NodePlan], node_addresses: Iterable[str], previous: Services | None = None) -> Services:
    """The frontends of these plans. `node_addresses` are this node's own, both families, canonical."""
    plans, local = tuple(plans), frozenset(node_addresses)
    before = {} if previous is None else previous.made_of
    made_of: dict[tuple[int, ObjectKey], Made] = {}
    doors: dict[Claim, Door] = {}
    for plan in plans:
        for key, service in plan.services.items():
            made = before.get((plan.family, key))
            if made is None or made[0] is not service:
                made = (service, _doors(plan, service))
            made_of[plan.family, key] = made
            doors.update(made[1])
    return Services(
        doors,
        frozenset(packed(address) for plan in plans for address in _takers(plan, local)),
        any(plan.loopback_node_ports for plan in plans),
        made_of,
    )


NO_SERVICES = Services({}, frozenset(), False, {})


def _takers(plan: NodePlan, local: frozenset[str]) -> frozenset[str]:
    addresses = local if plan.node_ports is None else plan.node_ports
    return frozenset(address for address in addresses if family_of(address) is plan.family and address != "::1")


def _doors(plan: NodePlan, service: ServicePlan) -> tuple[tuple[Claim, Door], ...]:
    made = ((port, _door(service.service, port)) for port in service.ports)
    return tuple((claim, door) for port, door in made for claim in _claims(plan, port))


def _door(service: ObjectKey, port: PortPlan) -> Door:
    serving = sorted({_record(packed(endpoint.address), endpoint.port) for endpoint in port.serving})
    return Door(service, port.name, port.protocol.value, b"".join(serving))


def _record(address: bytes, port: int) -> bytes:
    return address + port.to_bytes(2, "big")


def _claims(plan: NodePlan, port: PortPlan) -> Iterable[Claim]:
    for frontend in port.frontends:
        if frontend.kind is FrontendKind.NODE_PORT:
            yield port.protocol.number, bytes([plan.family]), frontend.port
        elif frontend.address is not None:
            yield port.protocol.number, packed(frontend.address), frontend.port


def _any_address(address: bytes) -> bytes:
    return b"\x04" if len(address) == _IPV4_LENGTH else b"\x06"
