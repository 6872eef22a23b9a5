from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from kproxy.config.listeners import Listener
from kproxy.core.plan import HealthCheck, NodePlan, ServicePlan
from kproxy.core.values import Family, ObjectKey
from kproxy.effects.http import bind_tcp, serving
from kproxy.wiring.health_checks import HealthChecks

CART, WEB = ObjectKey("shop", "cart"), ObjectKey("shop", "web")
HOSTS = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


class Stand:
    """Health checks on loopback addresses of this machine, and what they complained of."""

    def __init__(self) -> None:
        self.live = True
        self.complaints: list[tuple[ObjectKey, Listener]] = []


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.fixture
def checks(stand: Stand) -> Iterator[HealthChecks]:
    with serving("checks", lambda _error: None) as server:
        yield HealthChecks(
            server, lambda: stand.live, lambda key, listener, _error: stand.complaints.append((key, listener))
        )


@pytest.fixture
def port() -> int:
    with bind_tcp("127.0.0.1", 0) as probe:
        number: int = probe.getsockname()[1]
        return number


def plan(family: Family, addresses: frozenset[str] | None = None, **ready: tuple[int, int]) -> NodePlan:
    """A plan with a health check (port and local ready endpoints) of each named Service of namespace shop."""
    keys = {ObjectKey("shop", name): HealthCheck(*check) for name, check in ready.items()}
    services = {key: ServicePlan(key, (), check) for key, check in keys.items()}
    return NodePlan(family, services, node_ports=addresses)


def ask(port: int, family: Family = Family.IPV4, path: str = "/any/path") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(HOSTS[family], port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def is_open(port: int, family: Family = Family.IPV4) -> bool:
    try:
        ask(port, family)
    except ConnectionRefusedError:
        return False
    return True


def test_the_reply_is_kube_proxys_byte_for_byte(checks: HealthChecks, port: int) -> None:
    checks.follow(plan(Family.IPV4, cart=(port, 2)))
    status, headers, body = ask(port)
    assert status == 200
    assert body == (
        b'{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "cart"\n\t},\n'
        b'\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )
    assert headers.pop("Date")
    assert headers == {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": "2",
        "Content-Length": str(len(body)),
    }


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("count", [0, 1])
def test_it_takes_an_endpoint_here_and_a_healthy_proxy(
    checks: HealthChecks,
    stand: Stand,
    port: int,
    count: int,
    live: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    checks.follow(plan(Family.IPV4, cart=(port, count)))
    stand.live = live
    found, headers, body = ask(port)
    assert (found, headers["X-Load-Balancing-Endpoint-Weight"]) == (200 if count and live else 503, str(count))
    assert (b'"serviceProxyHealthy": true' in body) is live


def test_endpoints_come_and_go_without_a_new_listener(checks: HealthChecks, port: int) -> None:
    for count in (0, 3, 1):
        checks.follow(plan(Family.IPV4, cart=(port, count)))
        assert ask(port)[1]["X-Load-Balancing-Endpoint-Weight"] == str(count)


def test_services_come_change_their_port_and_go(checks: HealthChecks, port: int) -> None:
    with bind_tcp("127.0.0.1", 0) as probe:
        other: int = probe.getsockname()[1]
    checks.follow(plan(Family.IPV4, cart=(port, 1)))
    checks.follow(plan(Family.IPV4, cart=(other, 1)))
    assert (is_open(port), is_open(other)) == (False, True)
    checks.follow(plan(Family.IPV4))
    assert not is_open(other)
    assert not checks.listeners


def test_a_port_that_changes_hands_answers_for_its_new_service(checks: HealthChecks, port: int) -> None:
    checks.follow(plan(Family.IPV4, cart=(port, 1)))
    checks.follow(plan(Family.IPV4, web=(port, 1)))
    assert b'"name": "web"' in ask(port)[2]


def test_the_families_listen_apart(checks: HealthChecks, port: int) -> None:
    checks.follow(plan(Family.IPV4, cart=(port, 1)))
    assert not is_open(port, Family.IPV6)
    checks.follow(plan(Family.IPV6, cart=(port, 4)))
    assert [ask(port, family)[1]["X-Load-Balancing-Endpoint-Weight"] for family in Family] == ["1", "4"]
    checks.follow(plan(Family.IPV4))
    assert (is_open(port), is_open(port, Family.IPV6)) == (False, True)


def test_they_follow_the_addresses_that_take_node_ports(checks: HealthChecks, port: int) -> None:
    checks.follow(plan(Family.IPV4, frozenset({"127.0.0.2"}), cart=(port, 1)))
    assert not is_open(port)
    checks.follow(plan(Family.IPV4, frozenset({"127.0.0.1", "127.0.0.2"}), cart=(port, 1)))
    assert is_open(port)
    checks.follow(plan(Family.IPV4, None, cart=(port, 1)))
    assert [str(listener) for listener, _ in checks.listeners] == [f"0.0.0.0:{port}"]
    assert is_open(port)


def test_a_port_in_use_is_told_once_and_taken_when_it_is_free(checks: HealthChecks, stand: Stand, port: int) -> None:
    wanted = plan(Family.IPV4, cart=(port, 1))
    with bind_tcp("127.0.0.1", port) as taken:
        taken.listen()
        checks.follow(wanted)
        checks.follow(wanted)
        assert stand.complaints == [(CART, Listener("0.0.0.0", port))]
    checks.follow(wanted)
    assert ask(port)[0] == 200
