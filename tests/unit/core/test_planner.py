"""Plans, Service by Service: frontends, traffic policies, source ranges, health checks, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.core.host import Host, Settings
from kproxy.core.model import KubeObject, ServiceType, TrafficPolicy
from kproxy.core.plan import FrontendKind, HealthCheck, Route
from kproxy.core.values import Family, Protocol
from tests.objects import HOST, NODE, endpoint, endpoint_slice, key, networks, node, port, service
from tests.unit.core.planning import DETECTED, HERE, THERE, frontends, only_port, plan, planned, table

LOCAL = TrafficPolicy.LOCAL


def test_every_field_that_clients_connect_to_gives_a_frontend() -> None:
    everything = service(
        type=ServiceType.LOAD_BALANCER,
        cluster_ips=("10.96.0.1", "fd00:96::1"),
        external_ips=("198.51.100.1", "2001:db8:51::1"),
        load_balancer_ips=("198.51.100.2", "2001:db8:51::2"),
        external_policy=LOCAL,
        ports=(port(80, 30080),),
    )
    assert frontends(plan(everything)) == [
        ("cluster", "10.96.0.1", 80),
        ("lb", "198.51.100.2", 80),
        ("external", "198.51.100.1", 80),
        ("nodeport", None, 30080),
    ]
    assert frontends(plan(everything, family=Family.IPV6)) == [
        ("cluster", "fd00:96::1", 80),
        ("lb", "2001:db8:51::2", 80),
        ("external", "2001:db8:51::1", 80),
        ("nodeport", None, 30080),
    ]


def test_a_service_without_a_cluster_ip_of_the_family_is_not_there() -> None:
    only_v6 = service(
        cluster_ips=("fd00:96::1",), external_ips=("198.51.100.1",), ports=(port(80, 30080),), health_check_port=32000
    )
    assert plan(only_v6).services == {}


def test_external_ips_can_be_forbidden() -> None:
    asked = service(external_ips=("198.51.100.1",))
    assert frontends(plan(asked, settings=Settings(allow_external_ips=False))) == [("cluster", "10.96.0.1", 80)]


def test_one_port_number_serves_several_protocols() -> None:
    dns = service(ports=(port(53, name="dns"), port(53, protocol=Protocol.UDP, name="dns-udp")))
    (found,) = plan(dns).services.values()
    assert [(one.name, one.protocol) for one in found.ports] == [("dns", Protocol.TCP), ("dns-udp", Protocol.UDP)]


def test_within_a_service_the_fenced_use_of_an_address_stands() -> None:
    twice = service(
        type=ServiceType.LOAD_BALANCER,
        external_ips=("198.51.100.1",),
        load_balancer_ips=("198.51.100.1",),
        source_ranges=networks("203.0.113.0/24"),
    )
    found = plan(twice)
    assert frontends(found) == [("cluster", "10.96.0.1", 80), ("lb", "198.51.100.1", 80)]
    assert found.conflicts == ()


# Sections 1.4 and 1.5 of kube-proxy's behaviour: what policies and endpoints make of a table.

REJECTED = table("any plain reject")


@pytest.mark.parametrize(
    ("endpoints", "policy", "settings", "expected"),
    [
        ([HERE, THERE], "Cluster", DETECTED, table("pod plain cluster", "any masquerade cluster")),
        ([HERE, THERE], "Local", DETECTED, table("pod plain local", "any masquerade local")),
        ([THERE], "Local", DETECTED, table("any plain drop")),
        ([], "Cluster", DETECTED, REJECTED),
        ([], "Local", DETECTED, REJECTED),
        ([HERE], "Cluster", Settings(), table("any plain cluster")),
        ([HERE], "Local", Settings(), table("any plain local")),
        ([HERE], "Cluster", Settings(masquerade_all=True), table("any masquerade cluster")),
        ([HERE], "Local", Settings(masquerade_all=True), table("any masquerade local")),
        ([endpoint("10.64.2.1", "node-b", "draining")], "Local", DETECTED, table("any plain drop")),
        ([endpoint("10.64.2.1", "node-b", "gone")], "Local", DETECTED, REJECTED),
        ([endpoint("10.64.1.10", NODE, "failing")], "Cluster", DETECTED, REJECTED),
    ],
)
def test_internal_policy(endpoints: list[Any], policy: str, settings: Settings, expected: tuple[Route, ...]) -> None:
    cart = service(internal_policy=TrafficPolicy(policy))
    found = only_port(plan(cart, endpoint_slice("cart", *endpoints), settings=settings))
    assert found.internal == expected
    assert found.external == REJECTED


EXPOSED: dict[str, dict[str, Any]] = {
    "external": {"external_ips": ("198.51.100.1",)},
    "lb": {"load_balancer_ips": ("198.51.100.1",)},
    "nodeport": {"ports": (port(80, 30080),)},
}


@pytest.mark.parametrize("exposed", EXPOSED)
@pytest.mark.parametrize(
    ("endpoints", "policy", "settings", "expected"),
    [
        ([HERE, THERE], "Cluster", DETECTED, table("any masquerade cluster")),
        ([HERE, THERE], "Cluster", Settings(), table("any masquerade cluster")),
        (
            [HERE, THERE],
            "Local",
            DETECTED,
            table("pod plain cluster", "node masquerade cluster", "any plain local"),
        ),
        ([THERE], "Local", DETECTED, table("pod plain cluster", "node masquerade cluster", "any plain drop")),
        ([THERE], "Local", Settings(), table("node masquerade cluster", "any plain drop")),
        ([HERE], "Local", Settings(masquerade_all=True), table("node masquerade cluster", "any plain local")),
        ([], "Cluster", DETECTED, REJECTED),
        ([], "Local", DETECTED, REJECTED),
    ],
)
def test_external_policy(
    exposed: str, endpoints: list[Any], policy: str, settings: Settings, expected: tuple[Route, ...]
) -> None:
    fields = EXPOSED[exposed]
    cart = service(external_policy=TrafficPolicy(policy), **fields)
    assert only_port(plan(cart, endpoint_slice("cart", *endpoints), settings=settings)).external == expected


def test_a_pool_that_no_route_takes_is_empty() -> None:
    cluster_only = only_port(plan(service(), endpoint_slice("cart", HERE, THERE)))
    assert ([one.address for one in cluster_only.cluster], cluster_only.local) == (["10.64.1.10", "10.64.2.1"], ())
    local_only = only_port(plan(service(internal_policy=LOCAL), endpoint_slice("cart", HERE, THERE)))
    assert (local_only.cluster, [one.address for one in local_only.local]) == ((), ["10.64.1.10"])
    assert [one.address for one in local_only.serving] == ["10.64.1.10", "10.64.2.1"]


def test_affinity_reaches_the_plan() -> None:
    assert only_port(plan(service(affinity_s=600))).affinity_s == 600


def test_zone_hints_are_followed_as_soon_as_the_node_tells_its_zone() -> None:
    items: list[KubeObject] = [
        service(),
        endpoint_slice(
            "cart", endpoint("10.64.1.10", zones=("zone-1",)), endpoint("10.64.2.1", "node-b", zones=("zone-2",))
        ),
    ]
    unknown = planned(*items, node(zone=""))
    assert len(only_port(unknown.plan).cluster) == 2
    known = planned(*items, node(), previous=unknown)
    assert [one.address for one in only_port(known.plan).cluster] == ["10.64.1.10"]


def fence(ranges: tuple[str, ...] | None, family: Family = Family.IPV4, host: Host = HOST) -> object:
    guarded = service(
        cluster_ips=("10.96.0.1", "fd00:96::1"),
        load_balancer_ips=("198.51.100.1", "2001:db8:51::1"),
        external_ips=("198.51.100.9", "2001:db8:51::9"),
        source_ranges=None if ranges is None else networks(*ranges),
        ports=(port(80, 30080),),
    )
    found = only_port(plan(guarded, family=family, host=host)).frontends
    assert {one.allow_from for one in found if one.kind is not FrontendKind.LOAD_BALANCER} == {None}
    return next(one.allow_from for one in found if one.kind is FrontendKind.LOAD_BALANCER)


@pytest.mark.parametrize(
    ("ranges", "family", "expected"),
    [
        (None, Family.IPV4, None),
        (("203.0.113.0/24",), Family.IPV4, networks("203.0.113.0/24")),
        (("203.0.113.0/24",), Family.IPV6, ()),
        (("2001:db8:99::/64",), Family.IPV4, ()),
        (("203.0.113.0/24", "0.0.0.0/0"), Family.IPV4, None),
        (("::/0",), Family.IPV4, ()),
        (("203.0.113.128/25", "203.0.113.0/25", "203.0.113.7/32"), Family.IPV4, networks("203.0.113.0/24")),
        (("192.0.2.0/24",), Family.IPV4, networks("192.0.2.0/24", "198.51.100.1/32")),
        (("2001:db8::/64",), Family.IPV6, networks("2001:db8::/64", "2001:db8:51::1/128")),
        (("192.0.2.12/32",), Family.IPV4, networks("192.0.2.12/32")),
    ],
)
def test_source_ranges_fence_load_balancer_addresses_only(
    ranges: tuple[str, ...] | None, family: Family, expected: object
) -> None:
    assert fence(ranges, family) == expected


def test_the_fence_follows_the_nodes_address() -> None:
    moved = Host(NODE, ("203.0.113.4",), HOST.addresses)
    assert fence(("192.0.2.0/24",), host=moved) == networks("192.0.2.0/24")
    assert fence(("203.0.113.0/24",), host=moved) == networks("198.51.100.1/32", "203.0.113.0/24")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": ServiceType.LOAD_BALANCER, "external_policy": LOCAL}, HealthCheck(32000, 1)),
        ({"type": ServiceType.LOAD_BALANCER}, None),
        ({"type": ServiceType.NODE_PORT, "external_policy": LOCAL}, None),
    ],
)
def test_health_checks_are_for_load_balancers_with_policy_local(
    fields: dict[str, Any], expected: HealthCheck | None
) -> None:
    cart = service(health_check_port=32000, **fields)
    drained = endpoint("10.64.1.11", NODE, "draining")
    (found,) = plan(cart, endpoint_slice("cart", HERE, THERE, drained)).services.values()
    assert found.health_check == expected


def test_only_what_changed_is_another_object() -> None:
    items = [service("a"), service("b", cluster_ips=("10.96.0.3",))]
    slices = [endpoint_slice("a", HERE), endpoint_slice("b", HERE)]
    before = planned(*items, *slices)
    again = planned(*items, *slices, previous=before)
    assert again.plan is before.plan
    changed = planned(*items, slices[0], endpoint_slice("b", HERE, THERE), previous=again)
    assert changed.plan.services[key("a")] is before.plan.services[key("a")]
    assert len(changed.plan.services[key("b")].ports[0].cluster) == 2


def test_settings_of_the_node_replan_but_keep_equal_services() -> None:
    items: list[KubeObject] = [service("a"), endpoint_slice("a", HERE)]
    before = planned(*items, node(zone="zone-1"))
    after = planned(*items, node(zone="zone-2"), previous=before)
    assert after.plan is before.plan
    assert after.view != before.view
