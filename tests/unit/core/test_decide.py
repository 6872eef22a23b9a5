"""The order of decisions about a packet, and every row of the no-endpoint matrix."""

from __future__ import annotations

import msgspec
import pytest

from kproxy.core.decide import decide, index_plan, judge
from kproxy.core.flow import Answer, Choice, Packet, Verdict
from kproxy.core.host import Host, Settings
from kproxy.core.model import ServiceCIDR, ServiceType, TrafficPolicy
from kproxy.core.plan import FrontendKind, NodePlan, Unlisted
from kproxy.core.values import Family, Protocol
from tests.conformance import TRAITS
from tests.objects import HOST, NODE, endpoint, endpoint_slice, key, networks, port, service
from tests.unit.core.planning import DETECTED, HERE, THERE, plan

POD, OTHER_POD, OWN, OUTSIDE = "10.64.1.10", "10.64.1.11", "192.0.2.11", "203.0.113.7"
VIP, LB, EXTERNAL = "10.96.0.1", "198.51.100.1", "198.51.100.2"
SECOND = "198.18.0.11"
TWO_ADDRESSES = Host(NODE, (OWN,), HOST.addresses | {SECOND})


def packet(source: str, destination: str, number: int = 80, protocol: Protocol = Protocol.TCP) -> Packet:
    return Packet(source, destination, number, protocol)


def everywhere(*endpoints: object, policy: str = "Cluster", backend: str = "iptables", **fields: object) -> NodePlan:
    """A Service with every kind of frontend; both policies alike."""
    cart = service(
        type=ServiceType.LOAD_BALANCER,
        external_ips=(EXTERNAL,),
        load_balancer_ips=(LB,),
        internal_policy=TrafficPolicy(policy),
        external_policy=TrafficPolicy(policy),
        health_check_port=32000,
        ports=(port(80, 30080),),
    )
    cart = msgspec.structs.replace(cart, **fields)
    return plan(cart, endpoint_slice("cart", *endpoints), traits=TRAITS[backend], host=TWO_ADDRESSES)  # type: ignore[arg-type]


def ask(node_plan: NodePlan, source: str, destination: str, number: int = 80) -> Answer:
    return decide(node_plan, packet(source, destination, number), TWO_ADDRESSES)


def test_endpoints_of_the_pool_are_equally_likely_and_hairpin_is_masqueraded() -> None:
    assert ask(everywhere(HERE, THERE), POD, VIP) == Answer(
        Verdict.DNAT, (Choice(POD, 8080, 0.5, masquerade=True), Choice("10.64.2.1", 8080, 0.5, masquerade=False))
    )


def test_a_pod_elsewhere_that_meets_itself_is_its_own_nodes_business() -> None:
    answer = ask(everywhere(THERE), "10.64.2.1", VIP)
    assert [one.masquerade for one in answer.choices] == [False]


@pytest.mark.parametrize(
    ("source", "destination", "number", "masquerade"),
    [
        (OTHER_POD, VIP, 80, False),
        (OUTSIDE, VIP, 80, True),
        (OWN, VIP, 80, True),
        (OTHER_POD, LB, 80, True),
        (OUTSIDE, EXTERNAL, 80, True),
        (OUTSIDE, OWN, 30080, True),
        ("127.0.0.1", "127.0.0.1", 30080, True),
    ],
)
def test_masquerade_under_policy_cluster(source: str, destination: str, number: int, masquerade: bool) -> None:  # noqa: FBT001 - a table
    answer = ask(everywhere(HERE, THERE), source, destination, number)
    assert (answer.verdict, {one.masquerade for one in answer.choices}) == (Verdict.DNAT, {masquerade})


@pytest.mark.parametrize(
    ("source", "addresses", "masquerade"),
    [
        (OTHER_POD, {POD, "10.64.2.1"}, False),
        ("10.64.9.9", {POD, "10.64.2.1"}, False),  # a pod elsewhere: ClusterCIDR holds it too
        (OWN, {POD, "10.64.2.1"}, True),
        (OUTSIDE, {POD}, False),
    ],
)
@pytest.mark.parametrize(("destination", "number"), [(LB, 80), (EXTERNAL, 80), (OWN, 30080), (SECOND, 30080)])
def test_short_circuit_under_external_policy_local(
    source: str,
    addresses: set[str],
    masquerade: bool,  # noqa: FBT001 - a table
    destination: str,
    number: int,
) -> None:
    answer = ask(everywhere(HERE, THERE, policy="Local"), source, destination, number)
    assert {one.address for one in answer.choices} == addresses
    assert {one.masquerade for one in answer.choices} == {masquerade}


TARGETS = {"cluster": (VIP, 80), "lb": (LB, 80), "external": (EXTERNAL, 80), "nodeport": (OWN, 30080)}


@pytest.mark.parametrize("backend", TRAITS)
@pytest.mark.parametrize("source", [POD, OWN, OUTSIDE])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_no_usable_endpoint_anywhere_is_refused_on_every_way(
    backend: str, source: str, target: str, policy: str
) -> None:
    gone = endpoint("10.64.2.1", "node-b", "gone")
    assert ask(everywhere(gone, policy=policy, backend=backend), source, *TARGETS[target]) == Answer(Verdict.REJECT)


@pytest.mark.parametrize(
    ("source", "target", "verdict"),
    [
        (POD, "cluster", Verdict.DROP),
        (OWN, "cluster", Verdict.DROP),
        (OUTSIDE, "cluster", Verdict.DROP),
        *((OUTSIDE, target, Verdict.DROP) for target in ("lb", "external", "nodeport")),
        *((POD, target, Verdict.DNAT) for target in ("lb", "external", "nodeport")),
        *((OWN, target, Verdict.DNAT) for target in ("lb", "external", "nodeport")),
    ],
)
@pytest.mark.parametrize("backend", TRAITS)
def test_policy_local_without_local_endpoints(backend: str, source: str, target: str, verdict: Verdict) -> None:
    answer = ask(everywhere(THERE, policy="Local", backend=backend), source, *TARGETS[target])
    assert answer.verdict is verdict


def test_without_a_detector_pods_are_not_short_circuited() -> None:
    balanced = service(external_policy=TrafficPolicy.LOCAL, external_ips=(EXTERNAL,))
    blind = plan(balanced, endpoint_slice("cart", THERE), settings=Settings())
    assert ask(blind, POD, EXTERNAL).verdict is Verdict.DROP


@pytest.mark.parametrize(
    ("source", "verdict"),
    [("203.0.113.7", Verdict.DNAT), ("203.0.114.7", Verdict.DROP), (LB, Verdict.DROP), (POD, Verdict.DROP)],
)
@pytest.mark.parametrize("endpoints", [(HERE,), ()])
def test_the_fence_comes_first_and_holds_the_load_balancer_address_only(
    source: str, verdict: Verdict, endpoints: tuple[object, ...]
) -> None:
    fenced = everywhere(*endpoints, source_ranges=networks("203.0.113.0/24"))
    reached = verdict if endpoints or verdict is Verdict.DROP else Verdict.REJECT
    assert ask(fenced, source, LB).verdict is reached
    for destination, number in (TARGETS["cluster"], TARGETS["external"], TARGETS["nodeport"]):
        assert ask(fenced, source, destination, number).verdict is not Verdict.DROP


def test_the_node_reaches_a_fenced_address_that_stands_on_itself() -> None:
    fenced = everywhere(HERE, source_ranges=networks("192.0.2.0/24"))
    assert ask(fenced, LB, LB).verdict is Verdict.DNAT


def test_an_exact_address_beats_a_node_port() -> None:
    on_node = service("first", cluster_ips=("10.96.0.5",), external_ips=(OWN,), ports=(port(30080),))
    other = service("second", ports=(port(80, 30080),))
    both = plan(on_node, other, endpoint_slice("first", HERE), endpoint_slice("second", THERE))
    assert [one.address for one in ask(both, OUTSIDE, OWN, 30080).choices] == [POD]
    only_second = decide(both, packet(OUTSIDE, SECOND, 30080), TWO_ADDRESSES)
    assert [one.address for one in only_second.choices] == ["10.64.2.1"]


@pytest.mark.parametrize(
    ("backend", "destination", "verdict"),
    [
        ("iptables", OWN, Verdict.DNAT),
        ("iptables", SECOND, Verdict.DNAT),
        ("iptables", "127.0.0.1", Verdict.DNAT),
        ("iptables", "127.9.9.9", Verdict.DNAT),
        ("iptables", OUTSIDE, Verdict.PASS),
        ("nftables", OWN, Verdict.DNAT),
        ("nftables", SECOND, Verdict.PASS),
        ("nftables", "127.0.0.1", Verdict.PASS),
    ],
)
def test_where_node_ports_are_taken(backend: str, destination: str, verdict: Verdict) -> None:
    source = "127.0.0.1" if destination.startswith("127.") else OUTSIDE
    assert ask(everywhere(HERE, backend=backend), source, destination, 30080).verdict is verdict
    # Without endpoints an address that takes no NodePorts is left alone: who listens there keeps working.
    refused = Verdict.REJECT if verdict is Verdict.DNAT else verdict
    assert ask(everywhere(backend=backend), source, destination, 30080).verdict is refused


def test_only_node_ports_let_the_network_reach_loopback() -> None:
    """`route_localnet` lets it in, and what listens there relies on nobody's coming."""
    served, refusing = everywhere(HERE, backend="iptables"), everywhere(backend="iptables")
    assert ask(served, OUTSIDE, "127.0.0.1", 30080).verdict is Verdict.DNAT
    assert ask(refusing, OUTSIDE, "127.0.0.1", 30080).verdict is Verdict.DROP
    assert ask(served, OUTSIDE, "127.0.0.1", 631).verdict is Verdict.DROP
    assert ask(served, "127.0.0.1", "127.0.0.1", 631).verdict is Verdict.PASS
    assert ask(everywhere(HERE, backend="nftables"), OUTSIDE, "127.0.0.1", 631).verdict is Verdict.PASS


def test_listed_addresses_take_node_ports_whatever_the_interfaces_say() -> None:
    bare = Host(NODE, (OWN,), frozenset())
    listed = plan(service(ports=(port(80, 30080),)), endpoint_slice("cart", HERE), host=bare, traits=TRAITS["nftables"])
    assert decide(listed, packet(OUTSIDE, OWN, 30080), bare).verdict is Verdict.DNAT


def test_ipv6_loopback_never_takes_node_ports() -> None:
    cart = service(cluster_ips=("fd00:96::1",), ports=(port(80, 30080),))
    six = plan(cart, endpoint_slice("cart", endpoint("fd00:64:1::10")), family=Family.IPV6)
    assert decide(six, packet("::1", "::1", 30080), HOST).verdict is Verdict.PASS
    assert decide(six, packet("2001:db8:99::1", "2001:db8::11", 30080), HOST).verdict is Verdict.DNAT


@pytest.mark.parametrize(
    ("backend", "destination", "expected"),
    [
        ("iptables", VIP, Verdict.PASS),
        ("nftables", VIP, Verdict.REJECT),
        ("iptables", "10.96.0.99", Verdict.PASS),
        ("nftables", "10.96.0.99", Verdict.DROP),
        ("nftables", "10.97.0.1", Verdict.PASS),
        ("nftables", LB, Verdict.PASS),
    ],
)
def test_other_ports_and_other_addresses(backend: str, destination: str, expected: Verdict) -> None:
    ranges = ServiceCIDR("kubernetes", networks("10.96.0.0/16"))
    found = plan(service(load_balancer_ips=(LB,)), ranges, traits=TRAITS[backend])
    assert ask(found, OUTSIDE, destination, 9) == Answer(expected)


def test_an_unlisted_port_that_may_pass_is_not_dropped_for_its_range() -> None:
    ranges = ServiceCIDR("kubernetes", networks("10.96.0.0/16"))
    lenient = plan(service(), ranges, settings=Settings(reject_unlisted=False), traits=TRAITS["nftables"])
    assert lenient.unlisted is Unlisted.PASS
    assert ask(lenient, OUTSIDE, VIP, 9).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("backend", "destination", "protocol", "accept"),
    [
        ("iptables", OWN, Protocol.TCP, True),
        ("iptables", OWN, Protocol.UDP, False),
        ("iptables", OUTSIDE, Protocol.TCP, False),
        ("nftables", OWN, Protocol.TCP, False),
    ],
)
def test_health_checks_are_admitted(backend: str, destination: str, protocol: Protocol, accept: bool) -> None:  # noqa: FBT001 - a table
    found = everywhere(HERE, policy="Local", backend=backend)
    asked = packet(OUTSIDE, destination, 32000, protocol)
    assert decide(found, asked, TWO_ADDRESSES) == Answer(Verdict.PASS, accept=accept)


@pytest.mark.parametrize(
    ("pods", "interface", "masquerade"),
    [
        ("cni0", "cni0", False),
        ("cni0", "cni01", True),
        ("cni0", None, True),
        ("veth+", "veth1234", False),
        ("veth+", "eth0", True),
        ("veth+", None, True),
    ],
)
def test_detection_by_interface(pods: str, interface: str | None, masquerade: bool) -> None:  # noqa: FBT001 - a table
    by_interface = msgspec.structs.replace(plan(service(), endpoint_slice("cart", THERE)), pods=pods)
    answer = decide(by_interface, Packet(POD, VIP, 80, Protocol.TCP, interface), HOST)
    assert answer.masquerade is masquerade


def test_a_judgement_names_what_decided() -> None:
    index = index_plan(plan(service(), endpoint_slice("cart", THERE), settings=DETECTED))
    decision = judge(index, packet(POD, VIP), HOST)
    assert decision.target is not None
    assert decision.route is not None
    assert (decision.target.service, decision.target.frontend.kind) == (key("cart"), FrontendKind.CLUSTER)
    assert decision.route.client == "pod"
    assert judge(index, packet(POD, VIP, 9), HOST).target is None
