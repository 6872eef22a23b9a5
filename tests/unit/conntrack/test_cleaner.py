"""The worker: what it removes, when, and what it leaves alone while a sync is under way."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest

from conntrack import cleaner as worker
from conntrack.cleaner import Cleaned, Cleaner, Wanted, drain_times
from conntrack.entry import Entry
from conntrack.layout import TCP, UDP, Status
from conntrack.requests import ALL, Selection
from conntrack.table import Table
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family
from kproxy.errors import ConntrackError
from tests.unit.conntrack.cluster import CART, NODE_ADDRESSES, cart, dns, flow, known, plan
from tests.unit.conntrack.messages import flow_message

TIMEOUT_S = 10.0


class Kernel:
    """A table of flows; what is deleted is gone from it."""

    def __init__(self, *flows: Entry) -> None:
        self.flows = {entry.id: entry for entry in flows}
        self.looks = 0
        self.selections: list[Selection] = []
        self.broken: ConntrackError | None = None
        self.stuck: set[int] = set()
        self.on_batch: Callable[[], None] = lambda: None

    def open(self) -> Table:
        self.looks += 1
        return FakeTable(self)


class FakeTable(Table):
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def close(self) -> None:
        pass

    def batches(self, selection: Selection = ALL) -> Iterator[list[bytes]]:
        self._kernel.selections.append(selection)
        if self._kernel.broken:
            raise self._kernel.broken
        for entry in list(self._kernel.flows.values()):
            if entry.protocol == selection.protocol and entry.family is selection.family:
                yield [flow_message(entry)]
                self._kernel.on_batch()

    def delete(self, entry: Entry) -> bool:
        if entry.id in self._kernel.stuck:
            raise ConntrackError("busy")
        return self._kernel.flows.pop(entry.id, None) is not None


class Running:
    """A cleaner at work, and its reports."""

    def __init__(self, kernel: Kernel, clock: Callable[[], float]) -> None:
        self.reports: queue.SimpleQueue[Cleaned] = queue.SimpleQueue()
        self.cleaner = Cleaner(self.reports.put, kernel.open, clock)

    def apply(self, made: NodePlan) -> Cleaned:
        """Put a plan in force and wait for the look that follows."""
        self.cleaner.changing(made.family)
        self.cleaner.applied(made, NODE_ADDRESSES)
        return self.report()

    def report(self) -> Cleaned:
        return self.reports.get(timeout=TIMEOUT_S)


def test_a_plan_that_came_and_went_unseen_may_have_left_flows_behind() -> None:
    """What is in force is again what was looked at, but in between there was an endpoint that flows went to."""
    kernel = Kernel()
    with running(kernel) as cleaning:
        cleaning.apply(plan(dns("10.244.1.1:53")))
        late = dead()
        kernel.flows[late.id] = late
        with cleaning.cleaner._woken:  # the worker cannot look before both have been put in force
            for made in (plan(dns("10.244.1.9:53")), plan(dns("10.244.1.1:53"))):
                cleaning.cleaner.changing(Family.IPV4)
                cleaning.cleaner.applied(made, NODE_ADDRESSES)
        assert cleaning.report().deleted == 1


class Clock:
    """A clock that stands, unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def running(kernel: Kernel, clock: Callable[[], float] | None = None) -> Iterator[Running]:
    found = Running(kernel, clock or Clock())
    found.cleaner.start()
    try:
        yield found
    finally:
        found.cleaner.stop()


def live() -> Entry:
    return flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53)


def dead() -> Entry:
    return flow(UDP, "10.96.0.10", 53, "10.244.1.9", 53)


def left(kernel: Kernel) -> set[int]:
    return set(kernel.flows)


def names(*flows: Entry) -> set[int]:
    return {entry.id for entry in flows}


def test_stale_flows_go_and_others_stay() -> None:
    keep, other, gone = live(), flow(UDP, "9.9.9.9", 53, "9.9.9.9", 53), dead()
    kernel = Kernel(keep, gone, other)
    with running(kernel) as cleaning:
        report = cleaning.apply(plan(dns("10.244.1.1:53")))
    assert (report.family, report.deleted, report.error) == (Family.IPV4, 1, "")
    assert left(kernel) == names(keep, other)


def test_nothing_is_looked_at_before_a_plan_is_in_force_or_while_it_changes() -> None:
    kernel = Kernel(dead())
    with running(kernel) as cleaning:
        cleaning.cleaner.changing(Family.IPV4)
        with pytest.raises(queue.Empty):
            cleaning.reports.get(timeout=0.05)
        assert kernel.looks == 0
        cleaning.cleaner.applied(plan(dns("10.244.1.1:53")), NODE_ADDRESSES)
        assert cleaning.report().deleted == 1


def test_a_sync_that_begins_during_a_look_is_waited_for_and_its_plan_decides() -> None:
    """The flow is stale by the first plan and fine by the second, which is applied before it would be deleted."""
    saved, gone = flow(UDP, "10.96.0.10", 53, "10.244.1.2", 53), dead()
    kernel = Kernel(saved, gone)
    changing, resume = threading.Event(), threading.Event()

    def interfere() -> None:
        cleaning.cleaner.changing(Family.IPV4)
        kernel.on_batch = lambda: None
        changing.set()
        assert resume.wait(TIMEOUT_S)

    kernel.on_batch = interfere
    with running(kernel) as cleaning:
        cleaning.cleaner.applied(plan(dns("10.244.1.1:53")), NODE_ADDRESSES)
        assert changing.wait(TIMEOUT_S)
        resume.set()
        with pytest.raises(queue.Empty):
            cleaning.reports.get(timeout=0.05)
        assert left(kernel) == names(saved, gone), "nothing is removed while a sync is under way"
        cleaning.cleaner.applied(plan(dns("10.244.1.2:53")), NODE_ADDRESSES)
        assert cleaning.report().deleted == 1
    assert left(kernel) == names(saved)


def test_a_plan_that_means_the_same_for_flows_costs_no_look() -> None:
    kernel = Kernel(live())
    with running(kernel) as cleaning:
        cleaning.apply(plan(dns("10.244.1.1:53")))
        cleaning.cleaner.applied(plan(dns("10.244.1.1:53"), masquerade_bit=3), NODE_ADDRESSES)
        cleaning.apply(plan(dns("10.244.1.2:53")))
    assert kernel.looks == 2


def test_the_table_is_looked_at_again_after_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "EVERY_S", 0.01)
    kernel = Kernel()
    with running(kernel, time.monotonic) as cleaning:
        cleaning.apply(plan(dns("10.244.1.1:53")))
        late = dead()
        kernel.flows[late.id] = late
        while cleaning.report().deleted == 0:
            pass
    assert left(kernel) == set()


def test_an_error_is_reported_and_the_look_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RETRY_S", 0.01)
    kernel = Kernel(dead())
    kernel.broken = ConntrackError("no memory")
    with running(kernel, time.monotonic) as cleaning:
        assert cleaning.apply(plan(dns("10.244.1.1:53"))).error == "no memory"
        kernel.broken = None
        while (report := cleaning.report()).error:
            pass
        assert report.deleted == 1


def test_a_flow_that_cannot_be_deleted_keeps_no_other_alive() -> None:
    stuck, gone = dead(), dead()
    kernel = Kernel(stuck, gone)
    kernel.stuck = {stuck.id}
    with running(kernel) as cleaning:
        report = cleaning.apply(plan(dns("10.244.1.1:53")))
    assert report.deleted == 1
    assert "1 flows could not be deleted: busy" in report.error
    assert left(kernel) == names(stuck)


def test_one_look_takes_no_more_than_its_budget_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_AT_ONCE", 10)
    kernel = Kernel(*(dead() for _ in range(25)))
    with running(kernel) as cleaning:
        first = cleaning.apply(plan(dns("10.244.1.1:53")))
        deleted = [first.deleted, cleaning.report().deleted, cleaning.report().deleted]
    assert deleted == [10, 10, 5]


def test_tcp_flows_drain_only_where_the_service_asks() -> None:
    def over(drain_s: int | None) -> set[int]:
        clock = Clock()
        kernel = Kernel(broken, fine)
        with running(kernel, clock) as cleaning:
            cleaning.apply(plan(cart("10.244.2.1:8080", drain_s=drain_s)))
            clock.now += 60
            # Anything that changes makes the worker look again.
            cleaning.apply(plan(cart("10.244.2.1:8080", drain_s=drain_s), dns()))
        return left(kernel)

    broken, fine = flow(TCP, "10.96.0.1", 80, "10.244.2.9", 8080), flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080)
    assert over(None) == names(broken, fine)
    assert over(120) == names(broken, fine)
    assert over(30) == names(fine)


def test_an_untranslated_syn_goes_at_once() -> None:
    syn = flow(TCP, "10.96.0.1", 80, "10.96.0.1", 80, replied=False)
    kernel = Kernel(syn)
    with running(kernel) as cleaning:
        assert cleaning.apply(plan(cart("10.244.2.1:8080"))).deleted == 1


def test_families_are_cleaned_each_by_its_own_plan() -> None:
    kernel = Kernel(dead())
    with running(kernel) as cleaning:
        empty = cleaning.apply(plan(family=Family.IPV6))
        assert (empty.family, empty.deleted) == (Family.IPV6, 0)
        full = cleaning.apply(plan(dns("10.244.1.1:53")))
        assert (full.family, full.deleted) == (Family.IPV4, 1)
        assert set(cleaning.cleaner.services().made_of) == {(4, one) for one in plan(dns()).services}


def test_it_stops_while_it_waits_for_a_sync() -> None:
    kernel = Kernel(dead(), dead())
    looked = threading.Event()

    def begin_a_sync() -> None:
        cleaning.cleaner.changing(Family.IPV4)
        looked.set()

    kernel.on_batch = begin_a_sync
    with running(kernel) as cleaning:
        cleaning.cleaner.applied(plan(dns("10.244.1.1:53")), NODE_ADDRESSES)
        assert looked.wait(TIMEOUT_S)
    assert len(kernel.flows) == 2


def test_stopping_what_was_never_started_is_no_error() -> None:
    Cleaner(lambda _: None, Kernel().open).stop()


def wanted(made: NodePlan) -> Wanted:
    return Wanted(known(made), drain_times(made))


def asked_for(made: NodePlan) -> set[tuple[int | None, Status]]:
    selections = list(wanted(made).selections(Family.IPV4))
    assert all(one.family is Family.IPV4 for one in selections)
    return {(one.protocol, one.status_mask) for one in selections}


def test_only_that_part_of_the_table_is_read_that_can_hold_stale_flows() -> None:
    assert asked_for(plan()) == set()
    assert asked_for(plan(dns())) == {(UDP, Status(0))}
    assert asked_for(plan(dns(), cart())) == {(UDP, Status(0)), (TCP, Status.SEEN_REPLY)}
    assert asked_for(plan(cart(drain_s=5))) == {(TCP, Status(0))}


def test_services_that_want_their_flows_drained() -> None:
    assert drain_times(plan(cart(drain_s=0), dns())) == {CART: 0}


def differ(plans: Iterable[NodePlan]) -> bool:
    first, *others = map(wanted, plans)
    return all(not first.alike(other) for other in others)


def test_what_makes_a_difference_to_flows() -> None:
    base = plan(dns("10.244.1.1:53"))
    assert wanted(base).alike(wanted(plan(dns("10.244.1.1:53"), masquerade_bit=2)))
    assert differ(
        [
            base,
            plan(dns()),
            plan(dns("10.244.1.1:53"), cart()),
            plan(dns("10.244.1.1:53"), node_ports=frozenset({"192.0.2.11"})),
            plan(dns("10.244.1.1:53"), loopback_node_ports=True),
        ]
    )
    assert differ([plan(cart()), plan(cart(drain_s=1))])
