from __future__ import annotations

from collections.abc import Iterable

from conntrack.entry import Entry
from conntrack.layout import TCP, UDP, Status
from conntrack.services import NO_SERVICES, Services
from conntrack.stats import OTHER, Count, Summary, Tally, socket_text, summarise
from tests.unit.conntrack.cluster import cart, dns, flow, known, plan
from tests.unit.conntrack.messages import flow_message

SERVICES = known(plan(dns("10.244.1.1:53"), cart("10.244.2.1:8080", "10.244.2.2:8080")))
FLOWS = [
    flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53, client="10.244.9.1"),
    flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53, client="10.244.9.1", replied=False),
    flow(UDP, "10.96.0.10", 53, "10.244.1.7", 53, client="10.244.9.2"),
    flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080, client="10.244.9.1"),
    flow(TCP, "192.0.2.11", 30080, "10.244.2.2", 8080, client="203.0.113.7", state=7),
    flow(TCP, "203.0.113.9", 443, "203.0.113.9", 443, client="10.244.9.1"),
    flow(UDP, "203.0.113.9", 53, "203.0.113.9", 53, client="10.244.9.1", status=Status.SEEN_REPLY | Status.ASSURED),
]


def summary(services: Services, flows: Iterable[Entry] = FLOWS, **how: int) -> Summary:
    """By raw messages; counting decoded flows one by one must come to the same."""
    batch, single = Tally(), Tally()
    batch.add([flow_message(entry) for entry in flows])
    for entry in flows:
        single.add_entry(entry)
    found = summarise(batch, services, **how)
    assert summarise(single, services, **how) == found
    return found


def test_by_service_with_what_is_unreplied_and_stale() -> None:
    found = summary(SERVICES)
    assert found.total == Count(7, 1, 1)
    assert found.services == {
        "kube-system/dns:dns": Count(3, 1, 1),
        OTHER: Count(2, 0, 0),
        "shop/cart": Count(2, 0, 0),
    }


def test_plain_addresses_where_no_services_are_known() -> None:
    found = summary(NO_SERVICES)
    assert found.services["10.96.0.10:53/udp"] == Count(3, 1, 0)
    assert found.services["203.0.113.9:443/tcp"] == Count(1, 0, 0)
    assert OTHER not in found.services
    assert found.total.stale == 0


def test_endpoints_are_those_of_services_and_of_translated_flows() -> None:
    assert summary(SERVICES).endpoints == {
        "10.244.1.1:53/udp": Count(2, 1, 0),
        "10.244.1.7:53/udp": Count(1, 0, 1),
        "10.244.2.1:8080/tcp": Count(1, 0, 0),
        "10.244.2.2:8080/tcp": Count(1, 0, 0),
    }


def test_states_and_protocols() -> None:
    found = summary(SERVICES)
    assert found.protocols == {"udp": Count(4, 1, 1), "tcp": Count(3, 0, 0)}
    assert found.states == {
        "tcp ESTABLISHED": Count(2),
        "udp REPLIED": Count(2, 0, 1),
        "tcp TIME_WAIT": Count(1),
        "udp ASSURED": Count(1),
        "udp UNREPLIED": Count(1, 1),
    }


def test_clients_the_busiest_first_and_no_more_than_asked() -> None:
    found = summary(SERVICES)
    assert list(found.clients.items()) == [
        ("10.244.9.1", Count(5, 1)),
        ("10.244.9.2", Count(1)),
        ("203.0.113.7", Count(1)),
    ]
    few = summary(SERVICES, top=1)
    assert (list(few.clients), few.distinct_clients) == (["10.244.9.1"], 3)


def test_groups_are_ranked_by_flows_then_name() -> None:
    assert list(summary(SERVICES).services) == ["kube-system/dns:dns", OTHER, "shop/cart"]


def test_clients_are_left_out_where_nobody_asks() -> None:
    tally = Tally(clients=False)
    tally.add([flow_message(entry) for entry in FLOWS])
    assert summarise(tally).clients == {}
    assert summarise(tally).total.flows == len(FLOWS)


def test_a_flow_in_a_zone_belongs_to_no_service() -> None:
    found = summary(SERVICES, [flow(UDP, "10.96.0.10", 53, "10.244.1.7", 53, zone=3)])
    assert found.services == {OTHER: Count(1)}


def test_nothing_is_nothing() -> None:
    assert summary(SERVICES, []).total == Count()


def test_places_as_text() -> None:
    assert socket_text(b"\x0a\x60\0\1", 80, "tcp") == "10.96.0.1:80/tcp"
    assert socket_text(b"\xfd" + bytes(14) + b"\1", 80, "tcp") == "[fd00::1]:80/tcp"
    assert socket_text(b"\x0a\x60\0\1", None, "icmp") == "10.96.0.1/icmp"
