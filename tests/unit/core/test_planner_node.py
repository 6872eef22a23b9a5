"""The node's part of a plan: detection, NodePort addresses, ranges, settings; all followed live."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.core.host import PRIMARY, Host, LocalDetection, Settings
from kproxy.core.model import KubeObject, ServiceCIDR, TrafficPolicy
from kproxy.core.plan import Unallocated, Unlisted
from kproxy.core.values import Family
from tests.conformance import TRAITS
from tests.objects import HOST, NODE, networks, node, service
from tests.unit.core.planning import plan, planned

LOCAL = TrafficPolicy.LOCAL


def test_detection_modes() -> None:
    def pods(settings: Settings, family: Family = Family.IPV4, *items: KubeObject) -> object:
        return plan(*items, settings=settings, family=family).pods

    cidrs = networks("10.64.0.0/16", "10.65.0.0/16", "fd00:64::/32")
    assert pods(Settings(cluster_cidrs=cidrs)) == networks("10.64.0.0/16")
    assert pods(Settings(cluster_cidrs=cidrs), Family.IPV6) == networks("fd00:64::/32")
    assert pods(Settings()) is None
    by_node = Settings(local_detection=LocalDetection.NODE_CIDR, cluster_cidrs=cidrs)
    assert pods(by_node) is None
    assert pods(by_node, Family.IPV4, node()) == networks("10.64.1.0/24")
    bridge = Settings(local_detection=LocalDetection.BRIDGE_INTERFACE, bridge_interface="cni0")
    assert pods(bridge, Family.IPV6) == "cni0"
    prefix = Settings(local_detection=LocalDetection.INTERFACE_NAME_PREFIX, interface_prefix="veth")
    assert pods(prefix) == "veth+"
    assert pods(Settings(local_detection=LocalDetection.BRIDGE_INTERFACE)) is None
    assert pods(Settings(local_detection=LocalDetection.INTERFACE_NAME_PREFIX)) is None


SPREAD = Host(
    NODE,
    ("192.0.2.11", "2001:db8::11"),
    frozenset({"127.0.0.1", "::1", "192.0.2.11", "198.18.0.11", "2001:db8::11", "2001:db8:18::11"}),
)
FOUR, SIX = Family.IPV4, Family.IPV6


@pytest.mark.parametrize(
    ("configured", "family", "iptables", "nftables"),
    [
        (None, FOUR, (None, True), ({"192.0.2.11"}, False)),
        (None, SIX, (None, False), ({"2001:db8::11"}, False)),
        ((), FOUR, (None, True), (None, False)),
        ((PRIMARY,), FOUR, ({"192.0.2.11"}, False), ({"192.0.2.11"}, False)),
        (networks("198.18.0.0/15"), FOUR, ({"198.18.0.11"}, False), ({"198.18.0.11"}, False)),
        (networks("198.18.0.0/15"), SIX, (None, False), (None, False)),
        (networks("2001:db8::/64"), FOUR, (None, True), (None, False)),
        (networks("203.0.113.0/24"), FOUR, (set(), False), (set(), False)),
        (networks("0.0.0.0/0"), FOUR, (None, True), (None, False)),
        (networks("127.0.0.0/8"), FOUR, (set(), True), (set(), True)),
        (networks("127.0.0.1/32", "192.0.2.0/24"), FOUR, ({"192.0.2.11"}, True), ({"192.0.2.11"}, True)),
        (networks("::1/128"), SIX, (set(), False), (set(), False)),
    ],
)
def test_which_addresses_take_node_ports(
    configured: Any, family: Family, iptables: tuple[Any, bool], nftables: tuple[Any, bool]
) -> None:
    settings = Settings(node_port_addresses=configured)
    for backend, expected in (("iptables", iptables), ("nftables", nftables)):
        found = plan(settings=settings, family=family, host=SPREAD, traits=TRAITS[backend])
        assert (found.node_ports, found.loopback_node_ports) == expected


def test_localhost_node_ports_can_be_switched_off() -> None:
    assert not plan(settings=Settings(localhost_node_ports=False)).loopback_node_ports


def test_the_primary_address_is_followed_live() -> None:
    nftables = TRAITS["nftables"]
    nameless = Host(NODE, (), HOST.addresses)
    before = planned(node(addresses=("192.0.2.11", "192.0.2.12")), host=nameless, traits=nftables)
    assert before.plan.node_ports == frozenset({"192.0.2.11"})
    after = planned(node(addresses=("192.0.2.77",)), host=nameless, traits=nftables, previous=before)
    assert after.plan.node_ports == frozenset({"192.0.2.77"})
    assert plan(host=nameless, traits=nftables).node_ports == frozenset()
    assert plan(node(addresses=("192.0.2.77",)), traits=nftables).node_ports == frozenset({"192.0.2.11"})


def test_new_addresses_take_node_ports_at_once() -> None:
    settings = Settings(node_port_addresses=networks("198.18.0.0/15"))
    before = planned(service(), settings=settings, host=HOST)
    assert before.plan.node_ports == frozenset()
    after = planned(service(), settings=settings, host=SPREAD, previous=before)
    assert after.plan.node_ports == frozenset({"198.18.0.11"})
    assert after.plan.services is before.plan.services


def test_service_ranges_are_followed_at_once() -> None:
    first = ServiceCIDR("kubernetes", networks("10.96.0.0/16", "fd00:96::/112"))
    second = ServiceCIDR("more", networks("10.97.0.0/16"))
    before = planned(first)
    assert before.plan.cluster_ranges == networks("10.96.0.0/16")
    assert planned(first, second, previous=before).plan.cluster_ranges == networks("10.96.0.0/15")
    assert plan(first, second, family=Family.IPV6).cluster_ranges == networks("fd00:96::/112")


def test_settings_and_traits_reach_the_plan() -> None:
    by_default = plan(traits=TRAITS["nftables"])
    assert (by_default.unlisted, by_default.unallocated) == (Unlisted.REJECT, Unallocated.DROP)
    assert (by_default.masquerade_mark, by_default.drop_invalid, by_default.accepts_health_checks) == (
        0x4000,
        True,
        False,
    )
    asked = plan(settings=Settings(reject_unlisted=True, masquerade_bit=3, tcp_be_liberal=True))
    assert (asked.unlisted, asked.masquerade_mark, asked.drop_invalid) == (Unlisted.REJECT, 8, False)
    assert plan(settings=Settings(reject_unlisted=False), traits=TRAITS["nftables"]).unlisted is Unlisted.PASS
    assert asked.accepts_health_checks
