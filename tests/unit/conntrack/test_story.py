from __future__ import annotations

import msgspec
import pytest

from conntrack.layout import ICMP, TCP, UDP
from conntrack.query import look
from conntrack.story import Named, parse_named, renewal
from kproxy.core.flow import Verdict
from kproxy.errors import ConfigError
from tests.unit.conntrack.cluster import NODE, cart, dns, flow, known, plan

TWO = plan(cart("10.244.2.1:8080", "10.244.2.2:8080"), dns("10.244.1.1:53"))
NONE = plan(cart(), dns())


def test_the_forms_of_a_flow() -> None:
    assert parse_named("4711") == Named(id=4711)
    assert parse_named("10.244.0.7,10.96.0.10:53/udp") == Named(None, "10.244.0.7", None, "10.96.0.10", 53, UDP)
    assert parse_named("10.244.0.7:4000,10.96.0.10:53/UDP") == Named(None, "10.244.0.7", 4000, "10.96.0.10", 53, UDP)
    assert parse_named("[fd00::7]:4000,[fd00:0:96::1]:80/tcp") == Named(None, "fd00::7", 4000, "fd00:0:96::1", 80, TCP)
    assert parse_named("fd00::7,[fd00:96::1]:80/tcp") == Named(None, "fd00::7", None, "fd00:96::1", 80, TCP)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop/cart",
        "10.0.0.1",
        "10.0.0.1,10.0.0.2/tcp",
        "10.0.0.1,10.0.0.999:80/tcp",
        "10.0.0.1,10.0.0.2:80/nonsense",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_named(text)


def test_a_name_means_the_flows_it_fits() -> None:
    entry = flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53)
    client, source_port = entry.original.source, entry.original.source_port
    assert parse_named(str(entry.id)).means(entry)
    assert parse_named(f"{client},10.96.0.10:53/udp").means(entry)
    assert parse_named(f"{client}:{source_port},10.96.0.10:53/udp").means(entry)
    for other in (f"{client}:1,10.96.0.10:53/udp", f"{client},10.96.0.10:54/udp", f"{client},10.96.0.10:53/tcp", "0"):
        assert not parse_named(other).means(entry)


def again(entry: object, *plans: object) -> object:
    return renewal(look(known(*plans), entry), plans, NODE)


def test_a_new_connection_could_get_the_same_endpoint() -> None:
    found = again(flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080), TWO)
    assert (found.verdict, found.choices, found.same_possible) == (Verdict.DNAT, 2, True)
    assert str(found) == "a new connection could go to the same endpoint, one of 2"


def test_or_gets_the_only_one() -> None:
    found = again(flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53), TWO)
    assert str(found) == "a new connection would go to the same endpoint, the only one"


def test_or_gets_another() -> None:
    found = again(flow(TCP, "10.96.0.1", 80, "10.244.2.9", 8080), TWO)
    assert (found.choices, found.same_possible) == (2, False)
    assert "another endpoint" in str(found)


def test_or_is_refused() -> None:
    found = again(flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080), NONE)
    assert (found.verdict, found.choices) == (Verdict.REJECT, 0)
    assert str(found) == "a new connection would be refused"


def test_or_is_not_touched() -> None:
    assert again(flow(TCP, "203.0.113.9", 80, "203.0.113.9", 80), TWO).verdict is Verdict.PASS


def test_affinity_is_told() -> None:
    service = cart("10.244.2.1:8080", "10.244.2.2:8080")
    sticky = msgspec.structs.replace(service, ports=(msgspec.structs.replace(service.ports[0], affinity_s=600),))
    assert "600 s" in str(again(flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080), plan(sticky)))


def test_protocols_without_services_have_no_such_story() -> None:
    assert again(flow(ICMP, "10.96.0.1", 80, "10.96.0.1", 80), TWO) is None
    assert again(flow(TCP, "fd00::1", 80, "fd00::1", 80), TWO) is None, "no plan of that family"
