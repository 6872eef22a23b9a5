"""The worker against this kernel: every protocol, and a table that is larger than one look takes."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from conntrack import cleaner as worker
from conntrack.cleaner import Cleaned, Cleaner
from conntrack.entry import Entry
from conntrack.layout import ICMP, ICMPV6, SCTP, TCP, UDP
from conntrack.table import Table
from kproxy.core.plan import NodePlan, ServicePlan
from kproxy.core.values import Family, ObjectKey, Protocol
from tests.bench.connections import SERVICES, fill
from tests.fakes import flows
from tests.fakes.namespace import in_new_namespace
from tests.unit.conntrack.cluster import at, plan, port

pytestmark = pytest.mark.root

TIMEOUT_S = 60
NODE = frozenset({"127.0.0.1", "10.0.0.1", "10.0.0.2"})


@contextmanager
def cleaning() -> Iterator[Callable[[NodePlan], Cleaned]]:
    """A worker in this namespace; what is yielded puts a plan in force and waits for the look."""
    reports: queue.SimpleQueue[Cleaned] = queue.SimpleQueue()
    cleaner = Cleaner(reports.put)
    cleaner.start()

    def apply(made: NodePlan) -> Cleaned:
        cleaner.applied(made, NODE)
        return reports.get(timeout=TIMEOUT_S)

    try:
        yield apply
    finally:
        cleaner.stop()


def one(protocol: Protocol, vip: str, *serving: str, drain_s: int | None = None) -> ServicePlan:
    """A Service of port 80."""
    return ServicePlan(ObjectKey("lab", protocol.lower()), (port(protocol, (at(vip, 80),), *serving),), None, drain_s)


def table() -> dict[int, Entry]:
    with Table() as door:
        return {entry.id: entry for entry in door.entries()}


def removed(made: NodePlan) -> list[Entry]:
    """What a look removes from a table that has a flow of every kind."""

    def inside() -> list[Entry]:
        flows.prepare()
        kept = flows.every_kind()
        before = table()
        with cleaning() as apply:
            report = apply(made)
        after = table()
        for open_connection in kept:
            open_connection.close()
        gone = [entry for number, entry in before.items() if number not in after]
        assert (report.deleted, report.error, report.undecodable) == (len(gone), "", 0)
        return gone

    return in_new_namespace(inside)


def to(entries: list[Entry], vip: str) -> set[tuple[int, str]]:
    assert all(entry.original.destination == vip for entry in entries)
    return {(entry.protocol, entry.original.source) for entry in entries}


def test_udp_flows_to_a_dead_endpoint() -> None:
    gone = removed(plan(one(Protocol.UDP, "10.96.0.1", "10.244.0.9:8080")))
    assert to(gone, "10.96.0.1") == {(UDP, "10.0.0.1"), (UDP, "10.0.0.2")}


def test_udp_flows_of_a_service_without_endpoints() -> None:
    assert len(removed(plan(one(Protocol.UDP, "10.96.0.1")))) == 2


def test_udp_flows_of_ipv6() -> None:
    gone = removed(plan(one(Protocol.UDP, "fd00:96::1", "[fd00:244::9]:8080"), family=Family.IPV6))
    assert to(gone, "fd00:96::1") == {(UDP, "fd00::1")}


def test_sctp_flows() -> None:
    gone = removed(plan(one(Protocol.SCTP, "10.96.0.1", "10.244.0.9:8080")))
    assert to(gone, "10.96.0.1") == {(SCTP, "10.0.0.1")}


def test_tcp_flows_only_where_the_service_asks() -> None:
    assert removed(plan(one(Protocol.TCP, "10.96.0.1", "10.244.0.9:8080"))) == []
    gone = removed(plan(one(Protocol.TCP, "10.96.0.1", "10.244.0.9:8080", drain_s=0)))
    assert to(gone, "10.96.0.1") == {(TCP, "10.0.0.1"), (TCP, "10.0.0.2")}


def test_an_untranslated_flow_in_front_of_the_rules() -> None:
    gone = removed(plan(one(Protocol.UDP, "10.244.0.6", "10.244.0.9:8080"), dns_at("10.244.0.6")))
    assert to(gone, "10.244.0.6") == {(UDP, "10.0.0.1"), (UDP, "10.0.0.2")}


def dns_at(vip: str) -> ServicePlan:
    """`flows.every_kind` sends datagrams to port 53 of a pod; here that is a VIP whose rules came later."""
    return ServicePlan(ObjectKey("lab", "dns"), (port(Protocol.UDP, (at(vip, 53),), "10.244.0.9:53"),))


def test_nothing_where_everything_serves() -> None:
    serving = plan(
        one(Protocol.UDP, "10.96.0.1", "10.244.0.5:8080"),
        one(Protocol.TCP, "10.96.0.1", "10.244.0.5:8080", drain_s=0),
        one(Protocol.SCTP, "10.96.0.1", "10.244.0.5:8080"),
    )
    assert removed(serving) == []


def test_a_large_table_is_cleaned_exactly_in_several_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the flows is UDP, to five endpoints per Service, of which the last is dead."""
    monkeypatch.setattr(worker, "MOST_AT_ONCE", 500)
    monkeypatch.setattr(worker, "SHARE", 1.0)

    def inside() -> None:
        flows.prepare()
        fill(30_000)
        services = [
            ServicePlan(
                ObjectKey("load", f"svc-{number}"),
                (port(Protocol.UDP, (at(f"10.96.{number >> 8}.{number & 255}", 80),), *alive(number)),),
            )
            for number in range(SERVICES)
        ]
        before = table()
        stale = {
            number
            for number, entry in before.items()
            if entry.protocol == UDP and int(entry.reply.source.rsplit(".", 1)[1]) % 5 == last(entry)
        }
        assert len(stale) == 2000
        reports: queue.SimpleQueue[Cleaned] = queue.SimpleQueue()
        cleaner = Cleaner(reports.put)
        cleaner.start()
        cleaner.applied(plan(*services), NODE)
        deleted = 0
        while deleted < len(stale):
            report = reports.get(timeout=TIMEOUT_S)
            assert report.error == ""
            assert report.deleted <= 500 + 500
            deleted += report.deleted
        cleaner.stop()
        assert set(table()) == set(before) - stale

    in_new_namespace(inside)


def endpoint(service: int, number: int) -> str:
    address = service * 5 + number
    return f"10.64.{address >> 8}.{address & 255}"


def alive(service: int) -> list[str]:
    return [f"{endpoint(service, number)}:8080" for number in range(4)]


def last(entry: Entry) -> int:
    """What the last octet of the Service's fifth endpoint leaves when it is divided by five."""
    octets = entry.original.destination.split(".")
    service = int(octets[2]) * 256 + int(octets[3])
    return int(endpoint(service, 4).rsplit(".", 1)[1]) % 5


def test_protocols_without_services_are_never_touched() -> None:
    everything = plan(
        one(Protocol.UDP, "10.96.0.1"), one(Protocol.TCP, "10.96.0.1", drain_s=0), one(Protocol.SCTP, "10.96.0.1")
    )
    assert {entry.protocol for entry in removed(everything)} == {UDP, TCP, SCTP}
    assert not {ICMP, ICMPV6} & {entry.protocol for entry in removed(everything)}
