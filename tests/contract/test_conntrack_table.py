"""The table's door against this kernel, with real flows; conntrack-tools is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from conntrack.entry import FIELDS, Entry
from conntrack.events import Event, Events, Kind
from conntrack.layout import SCTP, TCP, UDP, Status
from conntrack.requests import Selection
from conntrack.table import Table
from conntrack.wire import Reader
from kproxy.core.values import Family
from tests import conntrack_oracle
from tests.fakes import flows
from tests.fakes.namespace import in_new_namespace

pytestmark = pytest.mark.root
T = TypeVar("T")


def with_flows(look: Callable[[], T], *sysctls: str) -> T:
    """What `look` sees in a namespace that has a flow of every kind."""

    def inside() -> T:
        flows.prepare(*sysctls)
        kept = flows.every_kind()
        try:
            return look()
        finally:
            for one in kept:
                one.close()

    return in_new_namespace(inside)


def entries(selection: Selection = Selection()) -> list[Entry]:  # noqa: B008 - a frozen value
    reader = Reader(FIELDS)
    with Table() as table:
        found = list(table.entries(selection, reader))
    assert reader.undecodable == 0
    return found


def sort(some: list[Entry]) -> list[Entry]:
    return sorted(some, key=lambda entry: entry.id or 0)


@pytest.mark.parametrize(
    "sysctls",
    [(), ("net.netfilter.nf_conntrack_acct=1", "net.netfilter.nf_conntrack_timestamp=1")],
    ids=["plain", "accounting"],
)
def test_every_field_is_what_conntrack_tools_reads(sysctls: tuple[str, ...]) -> None:
    ours, theirs = with_flows(
        lambda: (entries(), conntrack_oracle.listed("ipv4") + conntrack_oracle.listed("ipv6")), *sysctls
    )
    assert len(ours) >= 17
    assert sort([conntrack_oracle.comparable(entry) for entry in ours]) == sort(theirs)
    assert all((entry.original_counters is not None) == bool(sysctls) for entry in ours)
    assert all((entry.start_ns is not None) == bool(sysctls) for entry in ours)


def test_nat_of_both_kinds_is_seen_in_tuples_and_status() -> None:
    found = with_flows(entries)
    for entry in found:
        assert entry.dnat == bool(entry.status & Status.DST_NAT), entry
        assert entry.snat == bool(entry.status & Status.SRC_NAT), entry
    kinds = {(entry.family, entry.protocol_name, entry.dnat, entry.snat) for entry in found}
    assert kinds >= {
        (Family.IPV4, "tcp", True, False),
        (Family.IPV4, "udp", True, True),
        (Family.IPV4, "udp", False, True),
        (Family.IPV4, "sctp", True, False),
        (Family.IPV4, "icmp", False, False),
        (Family.IPV6, "tcp", True, False),
        (Family.IPV6, "udp", False, True),
        (Family.IPV6, "icmpv6", False, False),
    }


SELECTIONS: dict[str, tuple[Selection, Callable[[Entry], bool]]] = {
    "family": (Selection(family=Family.IPV6), lambda one: one.family is Family.IPV6),
    "protocol of both families": (Selection(protocol=UDP), lambda one: one.protocol == UDP),
    "protocol of one family": (
        Selection(family=Family.IPV4, protocol=TCP),
        lambda one: one.protocol == TCP and one.family is Family.IPV4,
    ),
    "SCTP": (Selection(protocol=SCTP), lambda one: one.protocol == SCTP),
    "source": (Selection(source="10.0.0.2"), lambda one: one.original.source == "10.0.0.2"),
    "destination and port": (
        Selection(destination="10.96.0.1", protocol=UDP, destination_port=80),
        lambda one: one.protocol == UDP and one.original.destination == "10.96.0.1",
    ),
    "mark": (Selection(mark=0x4321), lambda one: one.mark == 0x4321),
    "zone": (Selection(zone=5), lambda one: one.zone == 5),
    "unreplied": (Selection(status_mask=Status.SEEN_REPLY), lambda one: not one.replied),
    "assured": (
        Selection(status=Status.ASSURED, status_mask=Status.ASSURED),
        lambda one: bool(one.status & Status.ASSURED),
    ),
}


@pytest.mark.parametrize(("selection", "wanted"), SELECTIONS.values(), ids=SELECTIONS)
def test_the_kernel_filters_as_the_selection_says(selection: Selection, wanted: Callable[[Entry], bool]) -> None:
    every, chosen = with_flows(lambda: (entries(), entries(selection)))
    expected = {entry.id for entry in every if wanted(entry)}
    assert 0 < len(expected) < len(every)
    assert {entry.id for entry in chosen} == expected


def test_an_ipv6_address_is_left_to_the_caller_because_the_kernel_would_invert_it() -> None:
    every, chosen = with_flows(lambda: (entries(), entries(Selection(destination="fd00:96::1"))))
    assert {entry.id for entry in chosen} == {entry.id for entry in every if entry.family is Family.IPV6}


def test_every_flow_can_be_deleted_once_and_no_other_goes_with_it() -> None:
    def delete_one_by_one() -> None:
        with Table() as table:
            left = list(table.entries())
            while left:
                gone = left.pop()
                assert table.delete(gone), gone
                assert not table.delete(gone)
                assert {entry.id for entry in table.entries()} == {entry.id for entry in left}
            assert table.limits().entries == 0

    with_flows(delete_one_by_one)


def test_a_flow_that_took_anothers_tuple_is_not_deleted_in_its_place() -> None:
    def replace() -> None:
        flows.prepare()
        with Table() as table:
            flows.sctp_init("10.0.0.1", "10.244.0.6", 5060)
            (old,) = table.entries(Selection(protocol=SCTP))
            assert table.delete(old)
            flows.sctp_init("10.0.0.1", "10.244.0.6", 5060)
            (new,) = table.entries(Selection(protocol=SCTP))
            assert new.original == old.original
            if new.id != old.id:
                assert not table.delete(old)
                assert len(list(table.entries(Selection(protocol=SCTP)))) == 1

    in_new_namespace(replace)


def test_events_tell_a_flow_from_its_first_packet_to_its_end() -> None:
    def watch() -> list[Event]:
        flows.prepare()
        with Events() as events, Table() as table:
            flows.udp("10.0.0.1", "10.96.0.1", 80, server="10.244.0.5")
            (entry,) = table.entries(Selection(protocol=UDP))
            table.delete(entry)
            seen: list[Event] = []
            while not seen or seen[-1].kind is not Kind.DESTROY:
                some = events.next(5)
                assert some, "no event within 5 s"
                seen += some
            assert events.losses == 0
            assert events.reader.undecodable == 0
            return seen

    seen = in_new_namespace(watch)
    assert [event.kind for event in seen] == [Kind.NEW, Kind.UPDATE, Kind.DESTROY]
    assert {(event.entry.original.destination, event.entry.reply.source) for event in seen} == {
        ("10.96.0.1", "10.244.0.5")
    }
    assert not seen[0].entry.replied
    assert seen[1].entry.replied


def test_waiting_for_events_ends_in_time() -> None:
    def wait() -> list[Event]:
        with Events([Kind.DESTROY]) as events:
            return events.next(0.01)

    assert in_new_namespace(wait) == []


def test_limits_and_counters() -> None:
    def look() -> None:
        flows.prepare()
        with Table() as table:
            before = table.limits()
            flows.udp("10.0.0.1", "10.244.0.6", 53)
            after = table.limits()
            assert (before.entries, after.entries) == (0, 1)
            assert after.maximum > 0
            assert 0 < after.usage < 1
            counters = table.cpu_counters()
            assert counters
            assert all(
                one.keys() >= {"insert_failed", "drop", "early_drop", "search_restart"} for one in counters.values()
            )

    in_new_namespace(look)
