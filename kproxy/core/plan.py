"""The NodePlan: what this node must do for one IP family, with every decision already taken.

A backend compiles a plan without asking Kubernetes anything; `core/decide.py`
says what a plan means for a packet. All values are frozen and compared by
content, so equal input gives an equal plan.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from kproxy.core.values import Family, Network, ObjectKey, Protocol, Value


class FrontendKind(enum.StrEnum):
    """Where a frontend comes from, in the words of the Service's fields."""

    CLUSTER = "cluster"
    EXTERNAL = "external"
    LOAD_BALANCER = "lb"
    NODE_PORT = "nodeport"

    @property
    def is_internal(self) -> bool:
        """Whether the internal routes apply; everything but a ClusterIP is external."""
        return self is FrontendKind.CLUSTER


class Client(enum.StrEnum):
    """Whom a route is for: a pod as the detector sees it, this node itself, or anybody."""

    POD = "pod"
    NODE = "node"
    ANY = "any"


class Action(enum.StrEnum):
    """What happens to a new connection that a route takes."""

    CLUSTER = "cluster"
    LOCAL = "local"
    REJECT = "reject"
    DROP = "drop"

    @property
    def refuses(self) -> bool:
        """Whether no endpoint is reached."""
        return self in (Action.REJECT, Action.DROP)


class Unlisted(enum.StrEnum):
    """What becomes of a packet to a port of a ClusterIP that its Service does not list."""

    REJECT = "reject"
    PASS = "pass"  # noqa: S105 - a verdict


class Unallocated(enum.StrEnum):
    """What becomes of a packet to an address of a ServiceCIDR that no Service has."""

    DROP = "drop"
    PASS = "pass"  # noqa: S105 - a verdict


class Frontend(Value, frozen=True):
    """An address and port that clients connect to; `address` is None for a NodePort."""

    kind: FrontendKind
    address: str | None
    port: int
    allow_from: tuple[Network, ...] | None = None
    """The sources that may come: None everybody, () nobody."""


class Route(Value, frozen=True):
    """A row of a first-match table: this client gets this action."""

    client: Client
    masquerade: bool
    action: Action


class Endpoint(Value, frozen=True):
    """A pod that serves; `is_local`: on this node, so that it may meet itself (hairpin) and is masqueraded then."""

    address: str
    port: int
    is_local: bool


class PortPlan(Value, frozen=True):
    """One Service port: who listens, who serves, and which client gets what."""

    name: str
    protocol: Protocol
    frontends: tuple[Frontend, ...]
    affinity_s: int
    cluster: tuple[Endpoint, ...]
    """The pool of CLUSTER routes, sorted by address number and port."""
    local: tuple[Endpoint, ...]
    """The pool of LOCAL routes, sorted likewise; never reached unless a route says LOCAL."""
    serving: tuple[Endpoint, ...]
    """All serving endpoints before any policy: whose connections may live on."""
    internal: tuple[Route, ...]
    """For cluster frontends; always ends in a row for ANY."""
    external: tuple[Route, ...]
    """For all other frontends; always ends in a row for ANY."""

    def routes(self, kind: FrontendKind) -> tuple[Route, ...]:
        """The first-match table of a frontend of this kind."""
        return self.internal if kind.is_internal else self.external

    def pool(self, action: Action) -> tuple[Endpoint, ...]:
        """The endpoints of an action; none for a refusal."""
        return self.cluster if action is Action.CLUSTER else self.local if action is Action.LOCAL else ()


class HealthCheck(Value, frozen=True):
    """A healthCheckNodePort and the number of distinct local ready addresses behind it."""

    port: int
    local_ready: int


class Ipvs(Value, frozen=True):
    """What only the IPVS backend asks for."""

    scheduler: str = "rr"
    drain_s: int = 300
    """How long a leaving TCP endpoint may finish its connections."""
    strict_arp: bool = False
    timeouts_s: tuple[int, int, int] = (0, 0, 0)
    """Of TCP connections, of closing ones, of UDP flows; 0: the kernel's own."""


class ServicePlan(Value, frozen=True):
    """All ports of one Service; the unit of change."""

    service: ObjectKey
    ports: tuple[PortPlan, ...]
    health_check: HealthCheck | None = None
    tcp_drain_s: int | None = None
    """After how many seconds TCP flows to an endpoint that is gone are removed; None: never."""
    scheduler: str = ""
    """IPVS only: instead of `NodePlan.ipvs.scheduler`."""
    drain_s: int | None = None
    """IPVS only: instead of `NodePlan.ipvs.drain_s`."""


class Conflict(Value, frozen=True):
    """A claim that was lost: two Services want one frontend, NodePort or health-check port; the oldest wins."""

    claim: str
    """For people: `198.51.100.1:80/TCP`, `NodePort 30080/TCP`, `health check port 32000`."""
    loser: ObjectKey
    winner: ObjectKey


class Egress(Value, frozen=True):
    """Connections of pods that no Service takes leave the node with its address and a random port."""

    exempt: tuple[Network, ...]
    """Destinations that see the pod's own address, sorted, none overlapping; multicast is among them."""


class NodePlan(Value, frozen=True):
    """Everything one backend needs to know for one family."""

    family: Family
    services: Mapping[ObjectKey, ServicePlan]
    """Services with at least one frontend in this family, or a health check; in key order."""
    conflicts: tuple[Conflict, ...] = ()
    pods: tuple[Network, ...] | str | None = None
    """Whose source is POD: networks, or an input interface (`+` ends a prefix); None: no detector, no POD rows."""
    node_ports: frozenset[str] | None = None
    """Local addresses that take NodePorts; None: every local one."""
    loopback_node_ports: bool = False
    """Whether IPv4 loopback takes NodePorts (never ::1); this alone decides for 127.0.0.0/8, whatever `node_ports`."""
    cluster_ranges: tuple[Network, ...] = ()
    """ServiceCIDRs of this family."""
    unlisted: Unlisted = Unlisted.PASS
    unallocated: Unallocated = Unallocated.PASS
    accepts_health_checks: bool = False
    """Whether a filter rule admits healthCheckNodePorts (kube-proxy: iptables and ipvs do, nftables does not)."""
    masquerade_bit: int = 14
    """Which bit of the packet mark says: masquerade."""
    drop_invalid: bool = True
    """Whether forwarded packets that conntrack finds invalid are dropped (not when tcp_be_liberal is set)."""
    ipvs: Ipvs = Ipvs()
    egress: Egress | None = None
    """None: pods keep their address wherever they connect to."""
    no_egress: str = ""
    """Why there is no egress masquerade in this family though it is asked for, and the remedy; for people."""

    @property
    def masquerade_mark(self) -> int:
        """The mark's value: 0x4000 by default."""
        return 1 << self.masquerade_bit
