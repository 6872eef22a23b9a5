"""Random clusters, nodes, plans and packets: small worlds where everything meets everything else.

Addresses and ports come from short lists, so that Services collide, sources
fall on borders of ranges, and packets hit frontends or miss them narrowly. An
address is always on the same node, as in a real cluster.

For backends: `plans(traits)` draws a Stage (a plan and its host),
`packets(stage)` draws packets that matter to it, `histories(traits)` draws
successive plans of one changing cluster.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from hypothesis import strategies as st

from kproxy.core.flow import Packet
from kproxy.core.host import PRIMARY, Host, LocalDetection, Settings, Traits
from kproxy.core.model import (
    Applied,
    Deleted,
    EndpointSlice,
    Event,
    Kind,
    Node,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceType,
    SliceEndpoint,
    SlicePort,
    TrafficPolicy,
)
from kproxy.core.plan import NodePlan, Unallocated, Unlisted
from kproxy.core.planner import Planned, plan_node
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, Network, ObjectKey, Protocol, Value, family_of
from tests.conformance import snapshot_from

NODE, OTHER_NODE = "node-a", "node-b"
SERVICE_NAMES = (ObjectKey("shop", "a"), ObjectKey("shop", "b"), ObjectKey("web", "a"), ObjectKey("web", "b"))
CLUSTER_IPS = ("10.96.0.10", "10.96.0.11", "10.96.0.12", "fd00:96::10", "fd00:96::11", "fd00:96::12")
CLUSTER_IP_PAIRS = (*((four, six) for four in CLUSTER_IPS[:3] for six in CLUSTER_IPS[3:]), CLUSTER_IPS[:1], ())
EXTERNAL_IPS = ("198.51.100.1", "198.51.100.2", "10.96.0.10", "192.0.2.11", "2001:db8:51::1", "fd00:96::10")
LOAD_BALANCER_IPS = ("198.51.100.2", "198.51.100.3", "2001:db8:51::1", "2001:db8:51::2")
NODE_ADDRESSES = ("192.0.2.11", "198.18.0.11", "2001:db8::11", "2001:db8:18::11")
NODE_OF = {
    "10.64.1.10": NODE,
    "10.64.1.11": NODE,
    "192.0.2.11": NODE,
    "10.64.2.1": OTHER_NODE,
    "10.64.2.2": OTHER_NODE,
    "172.16.0.9": "",
    "fd00:64:1::10": NODE,
    "fd00:64:1::11": NODE,
    "2001:db8::11": NODE,
    "fd00:64:2::1": OTHER_NODE,
    "fd00:64:2::2": OTHER_NODE,
}
"""Endpoint addresses (pods, and the node itself for host network) and where they are."""
OUTSIDE = ("203.0.113.7", "192.0.2.100", "198.51.100.2", "2001:db8:99::7", "2001:db8::100", "2001:db8:51::1")
UNUSED = ("10.96.0.99", "10.97.0.1", "198.51.100.99", "127.0.0.2", "fd00:96::99", "2001:db8:51::99")
PORTS = (80, 443)
NODE_PORTS = (30080, 30443, 32000)
HEALTH_CHECK_PORTS = (32000, 32001)
INTERFACES = ("cni0", "veth1", "eth0")
CREATED = ("", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z")


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


RANGES = _networks(
    "192.0.2.0/24", "203.0.113.7/32", "10.64.0.0/16", "0.0.0.0/0", "2001:db8::/64", "fd00:64::/32", "192.0.2.0/25"
)
NON_MASQUERADE = _networks(
    "10.0.0.0/8", "198.51.100.0/24", "203.0.113.7/32", "0.0.0.0/0", "fd00::/8", "2001:db8:51::/49"
)
TRAITS = st.builds(
    Traits,
    unlisted=st.sampled_from(Unlisted),
    unallocated=st.sampled_from(Unallocated),
    accepts_health_checks=st.booleans(),
    node_ports_default=st.sampled_from(((), (PRIMARY,))),
    loopback_needs_listing=st.booleans(),
)
FAMILIES = st.sampled_from(Family)
PROTOCOLS = st.sampled_from((Protocol.TCP, Protocol.TCP, Protocol.UDP, Protocol.SCTP))
POLICIES = st.sampled_from(TrafficPolicy)

SERVICE_PORTS = st.lists(
    st.builds(
        ServicePort,
        name=st.sampled_from(("", "http", "https")),
        protocol=PROTOCOLS,
        port=st.sampled_from(PORTS),
        node_port=st.sampled_from((0, 0, *NODE_PORTS)),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda port: (port.name, port.protocol),
).map(tuple)


def some(values: Sequence[str], most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    """A few distinct ones of the values."""
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


def _one_per_family(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({family_of(address): address for address in addresses}.values())


SERVICES = st.builds(
    Service,
    key=st.sampled_from(SERVICE_NAMES),
    created=st.sampled_from(CREATED),
    type=st.sampled_from(ServiceType),
    cluster_ips=st.sampled_from(CLUSTER_IP_PAIRS),
    external_ips=some(EXTERNAL_IPS),
    load_balancer_ips=some(LOAD_BALANCER_IPS),
    source_ranges=st.none() | st.lists(st.sampled_from(RANGES), min_size=1, max_size=3, unique=True).map(tuple),
    internal_policy=POLICIES,
    external_policy=POLICIES,
    affinity_s=st.sampled_from((0, 0, 0, 600)),
    health_check_port=st.sampled_from((0, *HEALTH_CHECK_PORTS)),
    ports=SERVICE_PORTS,
)


def _endpoint(
    address: str, condition: tuple[bool, bool, bool], zones: tuple[str, ...], nodes: tuple[str, ...]
) -> SliceEndpoint:
    ready, serving, terminating = condition
    return SliceEndpoint(address, ready, serving, terminating, NODE_OF[address], zones, nodes)


READY = (True, True, False)
CONDITIONS = (
    READY,
    (False, True, True),
    (False, False, True),
    (False, False, False),
    (True, False, False),
    (False, True, False),
    (True, True, True),
)
"""Ready, serving, terminating."""
HINTS = st.just(()) | some(("zone-1", "zone-2"))


# Any Service port finds itself in a full slice; one with two numbers serves on both.
FULL = tuple(
    SlicePort(name, protocol, number)
    for name, number in (("", 8080), ("http", 8080), ("https", 8443))
    for protocol in Protocol
)
SLICE_PORTS = st.sampled_from((FULL, FULL, FULL, FULL[:3], (*FULL, SlicePort("http", Protocol.TCP, 8081))))


NAMES = st.sampled_from(SERVICE_NAMES)


@st.composite
def endpoint_slices(
    draw: st.DrawFn,
    services: st.SearchStrategy[ObjectKey] = NAMES,
    families: st.SearchStrategy[Family] = FAMILIES,
) -> EndpointSlice:
    """A slice of some Service with some endpoints; often all ready, sometimes hinted throughout."""
    service, family = draw(services), draw(families)
    addresses = [address for address in NODE_OF if family_of(address) is family]
    all_ready, hinted = draw(st.booleans()), draw(st.sampled_from(("none", "zones", "nodes", "mixed")))
    condition = st.just(READY) if all_ready else st.sampled_from(CONDITIONS)
    zones = {"zones": st.sampled_from((("zone-1",), ("zone-2",))), "mixed": HINTS}.get(hinted, st.just(()))
    nodes = st.sampled_from(((NODE,), (OTHER_NODE,))) if hinted == "nodes" else st.just(())
    endpoint = st.builds(_endpoint, st.sampled_from(addresses), condition, zones, nodes)
    return EndpointSlice(
        key=ObjectKey(service.namespace, f"{service.name}-{draw(st.sampled_from('xy'))}{family}"),
        service=service,
        family=family,
        ports=draw(SLICE_PORTS),
        endpoints=draw(st.lists(endpoint, min_size=draw(st.sampled_from((1, 1, 2, 0))), max_size=4).map(tuple)),
    )


NODES = st.builds(
    Node,
    name=st.just(NODE),
    addresses=some(NODE_ADDRESSES),
    pod_cidrs=st.sampled_from(((), _networks("10.64.1.0/24"), _networks("10.64.1.0/24", "fd00:64:1::/48"))),
    zone=st.sampled_from(("", "zone-1")),
)
SERVICE_CIDRS = st.builds(
    ServiceCIDR,
    name=st.just("kubernetes"),
    cidrs=st.sampled_from((_networks("10.96.0.0/24"), _networks("10.96.0.0/24", "fd00:96::/112"))),
)
OBJECTS = st.one_of(SERVICES, endpoint_slices(), SERVICES, endpoint_slices(), NODES, SERVICE_CIDRS)

SETTINGS = st.builds(
    Settings,
    local_detection=st.sampled_from((LocalDetection.CLUSTER_CIDR, *LocalDetection)),
    cluster_cidrs=st.sampled_from((_networks("10.64.0.0/16", "fd00:64::/32"), _networks("10.64.0.0/16"), ())),
    bridge_interface=st.sampled_from(("cni0", "")),
    interface_prefix=st.sampled_from(("veth", "")),
    masquerade_all=st.booleans(),
    masquerade_bit=st.sampled_from((14, 14, 0, 31)),
    node_port_addresses=st.none()
    | st.lists(
        st.sampled_from((PRIMARY, *_networks("192.0.2.0/24", "127.0.0.0/8", "2001:db8::/64", "0.0.0.0/0"))),
        max_size=2,
        unique=True,
    ).map(tuple),
    localhost_node_ports=st.booleans(),
    allow_external_ips=st.sampled_from((True, True, False)),
    reject_unlisted=st.sampled_from((None, None, True, False)),
    tcp_be_liberal=st.booleans(),
    egress_masquerade=st.booleans(),
    non_masquerade=st.lists(st.sampled_from(NON_MASQUERADE), max_size=3, unique=True).map(tuple),
)
HOSTS = st.builds(
    Host,
    node=st.just(NODE),
    primary=some(NODE_ADDRESSES).map(_one_per_family),
    addresses=some(NODE_ADDRESSES, 4).map(lambda chosen: frozenset(["127.0.0.1", "::1", *chosen])),
)


class Scene(Value, frozen=True):
    """All that a plan is made of."""

    snapshot: Snapshot
    settings: Settings
    host: Host
    traits: Traits
    family: Family

    def plan(self, previous: Planned | None = None) -> Planned:
        """The scene, planned."""
        return plan_node(self.snapshot, self.settings, self.host, self.traits, self.family, previous)


class Stage(Value, frozen=True):
    """A plan, and the host it is for."""

    plan: NodePlan
    host: Host


@st.composite
def snapshots(draw: st.DrawFn, family: Family) -> Snapshot:
    """A cluster with something to serve in this family."""
    services = draw(st.lists(SERVICES, min_size=1, max_size=4, unique_by=lambda one: one.key))
    served = [one.key for one in services if draw(st.sampled_from((True, True, True, False)))]
    slices = [draw(endpoint_slices(st.just(key), st.just(family))) for key in served]
    slices += draw(st.lists(endpoint_slices(st.sampled_from([one.key for one in services])), max_size=3))
    nodes, ranges = draw(st.lists(NODES, max_size=1)), draw(st.lists(SERVICE_CIDRS, max_size=1))
    return snapshot_from(*services, *slices, *nodes, *ranges)


@st.composite
def scenes(draw: st.DrawFn, traits: Traits | None = None) -> Scene:
    """Scenes of a backend with these traits, or of any."""
    family = draw(FAMILIES)
    chosen = draw(TRAITS) if traits is None else traits
    return Scene(draw(snapshots(family)), draw(SETTINGS), draw(HOSTS), chosen, family)


def stages(traits: Traits | None = None) -> st.SearchStrategy[Stage]:
    """Plans of random clusters with their hosts."""
    return scenes(traits).map(lambda scene: Stage(scene.plan().plan, scene.host))


def node_plans(traits: Traits | None = None) -> st.SearchStrategy[NodePlan]:
    """Plans of random clusters."""
    return stages(traits).map(lambda stage: stage.plan)


def histories(traits: Traits | None = None) -> st.SearchStrategy[list[Scene]]:
    """One cluster as it changes: each scene comes from the one before by a few events, a new host or new settings."""
    step = st.tuples(st.lists(EVENTS, max_size=3), st.none() | HOSTS, st.none() | SETTINGS)
    return st.builds(_history, scenes(traits), st.lists(step, max_size=4))


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Applied, OBJECTS),
    st.builds(Deleted, st.just(Kind.SERVICE), st.sampled_from(SERVICE_NAMES)),
    st.builds(Deleted, st.just(Kind.NODE), st.just(ObjectKey("", NODE))),
    st.builds(lambda gone: Deleted(Kind.ENDPOINT_SLICE, gone.key), endpoint_slices()),
)


def _history(first: Scene, steps: list[tuple[list[Event], Host | None, Settings | None]]) -> list[Scene]:
    found = [first]
    for events, host, settings in steps:
        last = found[-1]
        snapshot = fold(last.snapshot, events)
        found.append(Scene(snapshot, settings or last.settings, host or last.host, last.traits, last.family))
    return found


def packets(stage: Stage) -> st.SearchStrategy[Packet]:
    """Packets of the plan's family that hit frontends, node addresses, endpoints, or nothing by a hair."""
    family = stage.plan.family
    sources = _of_family((*NODE_OF, *NODE_ADDRESSES, *OUTSIDE, "127.0.0.1", "::1"), family)
    hits = st.sampled_from(_targets(stage))
    misses = st.tuples(
        st.sampled_from(_of_family((*UNUSED, *CLUSTER_IPS, *NODE_ADDRESSES, *NODE_OF, "127.0.0.1", "::1"), family)),
        st.sampled_from((9, *PORTS, *NODE_PORTS, *HEALTH_CHECK_PORTS)),
        st.sampled_from(Protocol),
    )
    return st.builds(
        lambda source, target, interface: Packet(source, target[0], target[1], target[2], interface),
        st.sampled_from(sources),
        st.sampled_from((hits, hits, hits, misses)).flatmap(lambda chosen: chosen),
        st.sampled_from((None, *INTERFACES)),
    )


def _targets(stage: Stage) -> list[tuple[str, int, Protocol]]:
    """Every frontend; NodePorts on every address of the node."""
    plan = stage.plan
    own = _of_family((*sorted(stage.host.addresses), *NODE_ADDRESSES, "127.0.0.1", "::1"), plan.family)
    found = []
    for service in plan.services.values():
        for port in service.ports:
            for frontend in port.frontends:
                addresses = own if frontend.address is None else [frontend.address]
                found += [(address, frontend.port, port.protocol) for address in addresses]
    return found or [(own[0], PORTS[0], Protocol.TCP)]


def _of_family(addresses: Sequence[str], family: Family) -> list[str]:
    return [address for address in addresses if family_of(address) is family]
