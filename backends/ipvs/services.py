"""What one Service contributes: virtual servers, real servers, and members of the sets.

A frontend's routes name up to two pools. The one that most of its clients get
is the pool of the virtual server at the frontend's own address; the other, and
every pool of a NodePort (whose addresses come and go), is a virtual server by
firewall mark, which IPVS asks for first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from backends.ipvs import drain
from backends.ipvs.names import DROP_SLOT, REJECT_SLOT, SETS, mark_for
from backends.ipvs.objects import NO_MARK, WHOLE, Balance, Drain, Mark, Member, Real, Server
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.plan import Action, Client, Frontend, NodePlan, PortPlan, Route, ServicePlan
from kproxy.core.values import Family, Protocol

EVERYWHERE: Final = {Family.IPV4: ("0.0.0.0", "128.0.0.0"), Family.IPV6: ("::", "8000::")}  # noqa: S104 - a network, bound to nothing
"""A set of networks does not take a prefix of no bits, so all addresses are two halves."""
SERVES: Final = (Action.CLUSTER, Action.LOCAL)
WEIGHT: Final = 1


class Slots(NamedTuple):
    """What a Service's compilation needs beside its plan: its pools' slots by key, and the plan's settings."""

    slots: tuple[tuple[str, int], ...]
    family: Family
    masquerade_bit: int
    scheduler: str
    drain_s: int


def home(frontend: Frontend, routes: tuple[Route, ...]) -> Action | None:
    """The pool of the virtual server at the frontend's own address; None if it has none."""
    if frontend.address is None:
        return None
    return next((route.action for route in reversed(routes) if route.action in SERVES), None)


def marked_pools(service: ServicePlan) -> tuple[str, ...]:
    """The keys of the pools that are reached by a mark, each once."""
    found: dict[str, None] = {}
    for port in service.ports:
        for frontend in port.frontends:
            routes = port.routes(frontend.kind)
            own = home(frontend, routes)
            for route in routes:
                if route.action in SERVES and route.action is not own:
                    found[pool_key(service, port, route.action)] = None
    return tuple(found)


def pool_key(service: ServicePlan, port: PortPlan, action: Action) -> str:
    """What a slot is allocated for."""
    return f"{service.service}:{port.name}/{port.protocol}/{action}"


def keeps_by_hash(service: ServicePlan, keys: Collection[str]) -> bool:
    """Whether clients that are to be kept for a time reach one of the marked pools (`keys`)."""
    kept = {pool_key(service, port, action) for port in service.ports if port.affinity_s for action in SERVES}
    return not kept.isdisjoint(keys)


def settings_for(plan: NodePlan, service: ServicePlan, slots: Mapping[str, int], keys: tuple[str, ...]) -> Slots:
    """The inputs of `service_fragment` beside the plan."""
    return Slots(
        tuple((key, slots[key]) for key in keys),
        plan.family,
        plan.masquerade_bit,
        service.scheduler or plan.ipvs.scheduler,
        plan.ipvs.drain_s if service.drain_s is None else service.drain_s,
    )


def service_fragment(service: ServicePlan, at: Slots) -> Fragment:
    """Everything that this Service alone wants in the kernel."""
    fragment: dict[ObjectId, Content] = {}
    slots = dict(at.slots)
    for port in service.ports:
        marks = {
            action: mark_for(slots[key], at.masquerade_bit)
            for action in SERVES
            if (key := pool_key(service, port, action)) in slots
        }
        for frontend in port.frontends:
            fragment.update(_frontend(port, frontend, marks, at))
    if service.health_check is not None:
        number = service.health_check.port
        for half in EVERYWHERE[at.family]:
            fragment[Member(SETS[at.family].health, Protocol.TCP, half, number, prefix=1)] = NO_MARK
    return fragment


def _frontend(
    port: PortPlan, frontend: Frontend, marks: dict[Action, int], at: Slots
) -> Iterator[tuple[ObjectId, Content]]:
    routes = port.routes(frontend.kind)
    own = home(frontend, routes)
    if own is not None and frontend.address is not None:
        server = Server(port.protocol, frontend.address, frontend.port)
        yield from _server(server, port, own, at)
    bit = 1 << at.masquerade_bit
    whole = any(route.action is not own for route in routes)
    for route in routes:
        mark = _mark(route, own, marks, at) if whole else Mark(bit if route.masquerade else 0, bit)
        if route.action in SERVES and route.action is not own:
            yield from _server(Server(None, "", 0, mark.value), port, route.action, at)
        for member in _members(port, frontend, route, at.family):
            yield member, mark
    if frontend.allow_from is not None and frontend.address is not None:
        yield from _fence(port, frontend, frontend.address, at.family)


def _mark(route: Route, own: Action | None, marks: dict[Action, int], at: Slots) -> Mark:
    """The whole mark of a route's packets."""
    if route.action.refuses:
        slot = REJECT_SLOT if route.action is Action.REJECT else DROP_SLOT
        return Mark(mark_for(slot, at.masquerade_bit), WHOLE)
    value = 0 if route.action is own else marks[route.action]
    return Mark(value | (1 << at.masquerade_bit if route.masquerade else 0), WHOLE)


def _server(server: Server, port: PortPlan, action: Action, at: Slots) -> Iterator[tuple[ObjectId, Content]]:
    yield server, _balance(server, port, at)
    drain_s = at.drain_s if port.protocol is Protocol.TCP else 0
    if drain_s != drain.default_s(server):
        yield Drain(server), drain_s
    for endpoint in port.pool(action):
        yield Real(server, endpoint.address, endpoint.port), WEIGHT


def _balance(server: Server, port: PortPlan, at: Slots) -> Balance:
    """How a server chooses. One by mark cannot both persist and change the port (ip_vs_sched_persist): it hashes."""
    if port.affinity_s and server.mark:
        return Balance("mh", by_source=True)
    return Balance(at.scheduler, port.affinity_s)


def _members(port: PortPlan, frontend: Frontend, route: Route, family: Family) -> Iterator[Member]:
    names = SETS[family]
    if frontend.address is not None:
        name = {Client.ANY: names.any, Client.NODE: names.node, Client.POD: names.pod}[route.client]
        yield Member(name, port.protocol, frontend.address, frontend.port)
        return
    name = {Client.ANY: names.port_any, Client.NODE: names.port_node, Client.POD: names.port_pod}[route.client]
    for half in EVERYWHERE[family]:
        yield Member(name, port.protocol, half, frontend.port, prefix=1)


def _fence(port: PortPlan, frontend: Frontend, address: str, family: Family) -> Iterator[tuple[ObjectId, Content]]:
    names = SETS[family]
    yield Member(names.fenced, port.protocol, address, frontend.port), NO_MARK
    for network in frontend.allow_from or ():
        source = str(network.network_address)
        yield Member(names.allowed, port.protocol, address, frontend.port, source, network.prefixlen), NO_MARK


def vips(service: ServicePlan) -> frozenset[str]:
    """The addresses that must be this node's for the Service's packets to reach IPVS."""
    return frozenset(
        frontend.address for port in service.ports for frontend in port.frontends if frontend.address is not None
    )


def hairpins(service: ServicePlan, family: Family) -> frozenset[Member]:
    """The local endpoints, each of which may be sent back to itself."""
    name = SETS[family].hairpin
    return frozenset(
        Member(name, port.protocol, one.address, one.port, one.address)
        for port in service.ports
        for pool in (port.cluster, port.local)
        for one in pool
        if one.is_local
    )
