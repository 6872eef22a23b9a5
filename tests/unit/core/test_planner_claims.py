"""Addresses and ports that several Services want."""

from __future__ import annotations

from typing import Any

import msgspec

from kproxy.core.model import Service, ServiceType, TrafficPolicy
from kproxy.core.plan import Conflict, HealthCheck
from kproxy.core.values import Family, Protocol
from tests.objects import key, port, service
from tests.unit.core.planning import frontends, plan, planned

LOCAL = TrafficPolicy.LOCAL


def exposed_at(name: str, created: str = "2024-01-01T00:00:00Z", number: int = 2, **fields: Any) -> Service:
    return service(name, created=created, cluster_ips=(f"10.96.0.{number}",), **fields)


def test_the_oldest_service_keeps_a_contested_address() -> None:
    young = exposed_at("a", "2025-01-01T00:00:00Z", external_ips=("198.51.100.1",))
    old = exposed_at("b", "2024-01-01T00:00:00Z", number=3, external_ips=("198.51.100.1",))
    found = plan(young, old)
    assert found.conflicts == (Conflict("198.51.100.1:80/TCP", key("a"), key("b")),)
    assert ("external", "198.51.100.1", 80) in frontends(found)
    assert [one.address for one in found.services[key("a")].ports[0].frontends] == ["10.96.0.2"]


def test_of_the_same_age_the_first_by_name_keeps_it_and_others_may_share_the_address() -> None:
    first = exposed_at("a", load_balancer_ips=("2001:db8:51::1",), type=ServiceType.LOAD_BALANCER)
    second = exposed_at("b", number=3, external_ips=("2001:db8:51::1",))
    other_port = exposed_at("c", number=4, external_ips=("2001:db8:51::1",), ports=(port(443),))
    both = [
        msgspec.structs.replace(one, cluster_ips=(f"fd00:96::{number}",))
        for number, one in enumerate((first, second, other_port))
    ]
    found = plan(*both, family=Family.IPV6)
    assert found.conflicts == (Conflict("[2001:db8:51::1]:80/TCP", key("b"), key("a")),)


def test_a_cluster_ip_cannot_be_taken_by_an_older_external_ip() -> None:
    thief = exposed_at("a", "2020-01-01T00:00:00Z", number=9, external_ips=("10.96.0.2",))
    owner = exposed_at("b", "2025-01-01T00:00:00Z")
    assert plan(thief, owner).conflicts == (Conflict("10.96.0.2:80/TCP", key("a"), key("b")),)


def test_node_ports_conflict_per_protocol() -> None:
    tcp = exposed_at("a", ports=(port(80, 30080),))
    udp = exposed_at("b", number=3, ports=(port(80, 30080, Protocol.UDP),))
    again = exposed_at("c", number=4, ports=(port(80, 30080),))
    assert plan(tcp, udp, again).conflicts == (Conflict("NodePort 30080/TCP", key("c"), key("a")),)


def balanced(name: str, number: int, health_check_port: int, **fields: Any) -> Service:
    return exposed_at(
        name,
        number=number,
        type=ServiceType.LOAD_BALANCER,
        external_policy=LOCAL,
        health_check_port=health_check_port,
        **fields,
    )


def test_health_check_ports_and_node_ports_are_one_space() -> None:
    first, second = balanced("a", 2, 32000), balanced("b", 3, 32000)
    node_port = exposed_at("c", number=4, ports=(port(80, 32000),))
    found = plan(first, second, node_port)
    assert found.conflicts == (
        Conflict("health check port 32000", key("b"), key("a")),
        Conflict("NodePort 32000/TCP", key("c"), key("a")),
    )
    assert [one.health_check for one in found.services.values()] == [HealthCheck(32000, 0), None, None]


def test_what_was_lost_returns_when_the_winner_goes() -> None:
    old = exposed_at("a", "2024-01-01T00:00:00Z", external_ips=("198.51.100.1",))
    young = exposed_at("b", "2025-01-01T00:00:00Z", number=3, external_ips=("198.51.100.1",))
    before = planned(old, young)
    after = planned(young, previous=before)
    assert ("external", "198.51.100.1", 80) in frontends(after.plan)
    assert after == planned(young)
    assert planned(old, young, previous=after) == before


def test_a_service_that_lost_everything_is_not_in_the_plan() -> None:
    owner, double = exposed_at("a"), exposed_at("b")
    assert list(plan(owner, double).services) == [key("a")]
