"""Which connections of pods leave with the node's address: what is exempt, and why there may be nothing to do."""

from __future__ import annotations

import msgspec
import pytest

from kproxy.core.decide import decide
from kproxy.core.egress import NO_PODS, exemption
from kproxy.core.flow import Answer, Packet, Verdict
from kproxy.core.host import LocalDetection, Settings
from kproxy.core.model import KubeObject, ServiceCIDR
from kproxy.core.plan import Egress, NodePlan
from kproxy.core.values import Family, Protocol
from tests.conformance import TRAITS
from tests.objects import HOST, endpoint, endpoint_slice, networks, node, service
from tests.unit.core.planning import DETECTED, plan, planned

ON = msgspec.structs.replace(DETECTED, egress_masquerade=True)
RANGES = ServiceCIDR("kubernetes", networks("10.96.0.0/16", "fd00:96::/112"))
POD, NEIGHBOUR, OUTSIDE = "10.64.1.10", "10.64.1.11", "203.0.113.7"


def exempt(*items: KubeObject, family: Family = Family.IPV4, **settings: object) -> list[str] | str:
    """The exempt networks, or why nothing is masqueraded."""
    found = plan(*items, settings=msgspec.structs.replace(ON, **settings), family=family)
    assert (found.egress is None) is bool(found.no_egress)
    return [str(network) for network in found.egress.exempt] if found.egress else found.no_egress


def test_it_is_off_unless_asked_for() -> None:
    assert (plan(settings=DETECTED).egress, plan(settings=DETECTED).no_egress) == (None, "")


def test_the_default_is_the_cluster_and_link_local() -> None:
    assert exempt(RANGES) == ["10.64.0.0/16", "10.96.0.0/16", "169.254.0.0/16", "224.0.0.0/4"]
    assert exempt(RANGES, family=Family.IPV6) == ["fd00:64::/32", "fd00:96::/112", "fe80::/10", "ff00::/8"]


def test_a_list_replaces_the_default_in_the_families_that_it_names() -> None:
    listed = networks("10.0.0.0/8", "10.1.0.0/16")
    assert exempt(RANGES, non_masquerade=listed) == ["10.0.0.0/8", "224.0.0.0/4"]
    assert exempt(RANGES, non_masquerade=listed, family=Family.IPV6) == exempt(RANGES, family=Family.IPV6)


def test_this_nodes_pods_are_exempt_whatever_the_list_says() -> None:
    listed = networks("198.51.100.0/24")
    own = node(pod_cidrs=networks("10.65.1.0/24", "fd00:65::/64"))
    assert exempt(own, non_masquerade=listed) == ["10.65.1.0/24", "198.51.100.0/24", "224.0.0.0/4"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cluster_cidrs": ()}, NO_PODS),
        ({"local_detection": LocalDetection.NODE_CIDR}, NO_PODS),
        (
            {
                "local_detection": LocalDetection.BRIDGE_INTERFACE,
                "bridge_interface": "cni0",
                "cluster_cidrs": networks("fd00:64::/32"),
            },
            "neither nonMasqueradeCIDRs nor clusterCIDR names an IPv4 network",
        ),
        ({"non_masquerade": networks("0.0.0.0/0")}, "0.0.0.0/0 exempts every destination"),
    ],
)
def test_why_nothing_is_masqueraded(settings: dict[str, object], words: str) -> None:
    reason = exempt(**settings)
    assert isinstance(reason, str)
    assert words in reason


def test_service_cidrs_and_pod_cidrs_are_followed_live() -> None:
    before = planned(settings=ON)
    after = planned(RANGES, node(pod_cidrs=networks("10.65.1.0/24")), settings=ON, previous=before)
    assert before.plan.egress != after.plan.egress
    assert after.plan.egress is not None
    assert {"10.96.0.0/16", "10.65.1.0/24"} <= set(map(str, after.plan.egress.exempt))
    again = planned(RANGES, node(pod_cidrs=networks("10.65.1.0/24")), settings=ON, previous=after)
    assert again.plan is after.plan


def test_an_exemption_has_a_reason() -> None:
    egress = Egress(networks("10.0.0.0/8"))
    assert exemption(egress, "10.1.2.3", HOST) == "10.0.0.0/8 is not masqueraded"
    assert exemption(egress, "192.0.2.11", HOST) == "192.0.2.11 is the node's own"
    assert exemption(egress, OUTSIDE, HOST) == ""


def leaves(found: NodePlan, source: str, destination: str, interface: str | None = None) -> bool:
    answer = decide(found, Packet(source, destination, 443, Protocol.TCP, interface), HOST)
    assert answer == Answer(Verdict.PASS, egress=answer.egress)
    assert answer.masquerade is answer.egress
    return answer.egress


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (POD, OUTSIDE, True),
        (POD, NEIGHBOUR, False),
        (POD, "10.96.7.7", False),
        (POD, "169.254.169.254", False),
        (POD, "224.0.0.251", False),
        (POD, "192.0.2.11", False),
        (POD, "192.0.2.12", True),
        ("192.0.2.11", OUTSIDE, False),
        ("192.0.2.100", OUTSIDE, False),
    ],
)
def test_only_what_leaves_a_pod_and_the_cluster_is_masqueraded(source: str, destination: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert leaves(plan(RANGES, settings=ON), source, destination) is expected


def test_pods_are_known_by_the_plans_detector() -> None:
    by_interface = msgspec.structs.replace(
        ON, local_detection=LocalDetection.INTERFACE_NAME_PREFIX, interface_prefix="veth"
    )
    found = plan(settings=by_interface)
    assert leaves(found, POD, OUTSIDE, "veth7")
    assert not leaves(found, POD, OUTSIDE, "eth0")
    assert not leaves(found, POD, OUTSIDE)


def test_a_services_decision_stands_and_a_refusal_is_one() -> None:
    cart = service(cluster_ips=("10.96.0.1",))
    serving = plan(cart, endpoint_slice("cart", endpoint(OUTSIDE, "")), settings=ON)
    packet = Packet(POD, "10.96.0.1", 80, Protocol.TCP)
    assert [one.masquerade for one in decide(serving, packet, HOST).choices] == [False]
    assert decide(plan(cart, settings=ON), packet, HOST) == Answer(Verdict.REJECT)
    unlisted = Packet(POD, "10.96.0.1", 9, Protocol.TCP)
    for backend, verdict in (("nftables", Verdict.REJECT), ("iptables", Verdict.PASS)):
        found = plan(cart, settings=ON, traits=TRAITS[backend])
        # No ServiceCIDR is known, so an address that passes is an outside one.
        assert decide(found, unlisted, HOST) == Answer(verdict, egress=verdict is Verdict.PASS)


def test_settings_without_it_plan_nothing() -> None:
    assert plan(settings=Settings()).no_egress == ""
