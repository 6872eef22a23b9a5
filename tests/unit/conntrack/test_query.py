from __future__ import annotations

import ipaddress

import pytest

from conntrack.entry import Entry
from conntrack.layout import SCTP, TCP, UDP, Status
from conntrack.query import Nat, Query, client_of, endpoint_of, look, protocol_of, state_of
from conntrack.requests import Selection
from kproxy.core.values import Family
from kproxy.errors import ConfigError
from tests.unit.conntrack.cluster import CART, DNS, cart, dns, flow, known, plan

SERVICES = known(plan(dns("10.244.1.1:53"), cart("10.244.2.1:8080")))
GOOD = flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53)
STALE = flow(UDP, "10.96.0.10", 53, "10.244.1.7", 53)
WEB = flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080, client="10.244.8.8", status=Status.SEEN_REPLY | Status.ASSURED)
OUT = flow(UDP, "203.0.113.9", 53, "203.0.113.9", 53, replied=False)
FLOWS = {"good": GOOD, "stale": STALE, "web": WEB, "out": OUT}

QUERIES: dict[str, tuple[Query, set[str]]] = {
    "everything": (Query(), {"good", "stale", "web", "out"}),
    "a Service": (Query(service=DNS), {"good", "stale"}),
    "another Service": (Query(service=CART), {"web"}),
    "an endpoint": (Query(endpoint=("10.244.1.1", None)), {"good"}),
    "an endpoint's port": (Query(endpoint=("10.244.2.1", 8080)), {"web"}),
    "an endpoint's other port": (Query(endpoint=("10.244.2.1", 8081)), set()),
    "a client": (Query(client=ipaddress.ip_network("10.244.8.8")), {"web"}),
    "a network of clients": (Query(client=ipaddress.ip_network("10.244.9.0/24")), {"good", "stale", "out"}),
    "clients of the other family": (Query(client=ipaddress.ip_network("::/0")), set()),
    "a protocol": (Query(protocol=UDP), {"good", "stale", "out"}),
    "a state": (Query(state="ESTABLISHED"), {"web"}),
    "unreplied": (Query(state="UNREPLIED"), {"out"}),
    "replied": (Query(state="REPLIED"), {"good", "stale", "web"}),
    "assured": (Query(state="ASSURED"), {"web"}),
    "translated": (Query(nat=Nat.ANY), {"good", "stale", "web"}),
    "not translated": (Query(nat=Nat.NONE), {"out"}),
    "its destination translated": (Query(nat=Nat.DNAT), {"good", "stale", "web"}),
    "its source translated": (Query(nat=Nat.SNAT), set()),
    "stale": (Query(stale=True), {"stale"}),
    "all at once": (Query(service=DNS, protocol=UDP, state="REPLIED", nat=Nat.DNAT, stale=True), {"stale"}),
}


@pytest.mark.parametrize(("query", "wanted"), QUERIES.values(), ids=QUERIES)
def test_all_conditions_must_hold(query: Query, wanted: set[str]) -> None:
    assert {name for name, entry in FLOWS.items() if query.wants(look(SERVICES, entry))} == wanted


def in_selection(selection: Selection, entry: Entry) -> bool:
    return (
        selection.family in (None, entry.family)
        and selection.protocol in (None, entry.protocol)
        and selection.source in (None, entry.original.source)
        and entry.status & selection.status_mask == selection.status
    )


@pytest.mark.parametrize(("query", "wanted"), QUERIES.values(), ids=QUERIES)
def test_the_kernel_is_never_asked_for_less_than_is_wanted(query: Query, wanted: set[str]) -> None:
    for name in wanted:
        assert in_selection(query.selection(), FLOWS[name]), name


def test_what_the_kernel_is_asked_for() -> None:
    assert Query().selection() == Selection()
    assert Query(protocol=SCTP).selection() == Selection(protocol=SCTP)
    assert Query(client=client_of("10.0.0.1")).selection() == Selection(family=Family.IPV4, source="10.0.0.1")
    assert Query(client=client_of("10.0.0.0/8")).selection() == Selection(family=Family.IPV4)
    assert Query(state="UNREPLIED").selection() == Selection(status_mask=Status.SEEN_REPLY)
    assert Query(state="ASSURED").selection() == Selection(status=Status.ASSURED, status_mask=Status.ASSURED)


def test_words_of_the_command_line() -> None:
    assert protocol_of("udp") == protocol_of("UDP") == protocol_of("17") == UDP
    assert protocol_of("255") == 255
    assert state_of("time_wait") == "TIME_WAIT"
    assert client_of("10.0.0.5/8") == ipaddress.ip_network("10.0.0.0/8")
    assert endpoint_of("10.0.0.1") == ("10.0.0.1", None)
    assert endpoint_of("10.0.0.1:80") == ("10.0.0.1", 80)
    assert endpoint_of("fd00:0::1") == ("fd00::1", None)
    assert endpoint_of("[fd00::1]:80") == ("fd00::1", 80)
    assert endpoint_of("[fd00::1]") == ("fd00::1", None)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (protocol_of, "htcp"),
        (protocol_of, "256"),
        (protocol_of, "-1"),
        (protocol_of, ""),
        (protocol_of, "٣"),  # a digit, but none of ours
        (state_of, "HALF_OPEN"),
        (client_of, "10.0.0.300"),
        (client_of, "shop/cart"),
        (endpoint_of, "10.0.0.1:http"),
        (endpoint_of, "10.0.0.1:0"),
        (endpoint_of, "10.0.0.1:65536"),
        (endpoint_of, "[fd00::1]:x"),
        (endpoint_of, "[10.0.0.1"),
        (endpoint_of, ""),
        (endpoint_of, "fe80::1%eth0"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_option_and_value(read: object, text: str) -> None:
    with pytest.raises(ConfigError, match="--") as refused:
        read(text)
    assert repr(text)[:40] in str(refused.value)
