from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from conntrack import metrics
from conntrack.collector import Collector
from conntrack.counters import CpuCounters, Limits
from conntrack.layout import TCP, UDP
from conntrack.metrics import REST, table_metrics
from conntrack.requests import ALL, Selection
from conntrack.services import NO_SERVICES
from conntrack.stats import Count, Summary, Tally, summarise
from conntrack.table import Table
from kproxy.core.metrics import Reading
from kproxy.errors import ConntrackError, KproxyError
from tests.unit.conntrack.cluster import cart, dns, flow, known, plan
from tests.unit.conntrack.messages import flow_message

SERVICES = known(plan(dns("10.244.1.1:53"), cart("10.244.2.1:8080")))
FLOWS = [
    flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53, replied=False),
    flow(UDP, "10.96.0.10", 53, "10.244.1.7", 53),
    flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080),
]
COUNTERS: Mapping[int, CpuCounters] = {0: {"insert_failed": 1, "drop": 0}, 1: {"insert_failed": 2, "drop": 5}}


def summary() -> Summary:
    tally = Tally(clients=False)
    tally.add([flow_message(entry) for entry in FLOWS])
    return summarise(tally, SERVICES)


def values(found: tuple[Reading, ...], name: str) -> Mapping[tuple[str, ...], float]:
    (reading,) = [one for one in found if one.metric.name == name]
    return reading.values


def test_the_table_its_counters_and_its_services() -> None:
    found = table_metrics(Limits(3, 100), COUNTERS, summary())
    assert values(found, "kproxy_conntrack_entries") == {(): 3}
    assert values(found, "kproxy_conntrack_limit") == {(): 100}
    assert values(found, "kproxy_conntrack_insert_failed_total") == {(): 3}
    assert values(found, "kproxy_conntrack_drop_total") == {(): 5}
    assert values(found, "kproxy_conntrack_service_flows") == {("kube-system/dns:dns",): 2, ("shop/cart",): 1}
    assert values(found, "kproxy_conntrack_service_unreplied_flows")["kube-system/dns:dns",] == 1
    assert values(found, "kproxy_conntrack_service_stale_flows")["kube-system/dns:dns",] == 1
    assert values(found, "kproxy_conntrack_endpoint_flows")["10.244.2.1:8080/tcp",] == 1


def test_only_the_busiest_are_named_and_the_rest_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "NAMED", 2)
    services = {f"shop/s{number}": Count(10 - number, number) for number in range(5)}
    found = table_metrics(Limits(0, 0), {}, Summary(Count(), services, {}, {}, {}, {}, 0))
    assert values(found, "kproxy_conntrack_service_flows") == {("shop/s0",): 10, ("shop/s1",): 9, (REST,): 8 + 7 + 6}
    assert values(found, "kproxy_conntrack_service_unreplied_flows")[REST,] == 2 + 3 + 4


def until(is_so: Callable[[], bool]) -> None:
    """The newest look is shown right after its table was closed."""
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class FakeTable(Table):
    def __init__(self, looked: threading.Semaphore, error: ConntrackError | None = None) -> None:
        self._looked = looked
        self._error = error

    def close(self) -> None:
        self._looked.release()

    def batches(self, selection: Selection = ALL) -> Iterator[list[bytes]]:  # noqa: ARG002 - the table's
        if self._error:
            raise self._error
        yield [flow_message(entry) for entry in FLOWS]

    def limits(self) -> Limits:
        return Limits(3, 100)

    def cpu_counters(self) -> dict[int, CpuCounters]:
        return dict(COUNTERS)


def test_a_collector_keeps_the_newest_and_never_waits() -> None:
    looked = threading.Semaphore(0)
    collector = Collector(lambda: SERVICES, lambda _: None, lambda: FakeTable(looked), every_s=0.01)
    assert collector.latest() == ()
    collector.start()
    assert looked.acquire(timeout=10)
    assert looked.acquire(timeout=10), "it looks again by itself"
    assert values(collector.latest(), "kproxy_conntrack_entries") == {(): 3}
    collector.stop()
    assert collector.latest() == (), "nothing old is shown"
    collector.start()
    assert looked.acquire(timeout=10)
    collector.stop()


def test_a_collector_looks_when_services_have_come_to_be_known() -> None:
    looked, known_now = threading.Semaphore(0), [NO_SERVICES]
    collector = Collector(lambda: known_now[-1], lambda _: None, lambda: FakeTable(looked))
    collector.start()
    assert looked.acquire(timeout=10)
    known_now.append(SERVICES)
    collector.look()
    assert looked.acquire(timeout=10)
    until(lambda: bool(values(collector.latest(), "kproxy_conntrack_service_flows")))
    collector.stop()


def test_without_services_nothing_is_named() -> None:
    looked = threading.Semaphore(0)
    collector = Collector(lambda: NO_SERVICES, lambda _: None, lambda: FakeTable(looked))
    collector.start()
    assert looked.acquire(timeout=10)
    until(lambda: bool(collector.latest()))
    assert values(collector.latest(), "kproxy_conntrack_entries") == {(): 3}
    assert values(collector.latest(), "kproxy_conntrack_service_flows") == {}
    assert values(collector.latest(), "kproxy_conntrack_endpoint_flows") == {}
    collector.stop()


def test_a_look_that_is_under_way_ends_when_the_collector_stops() -> None:
    looked, began = threading.Semaphore(0), threading.Event()

    class Endless(FakeTable):
        def batches(self, selection: Selection = ALL) -> Iterator[list[bytes]]:  # noqa: ARG002 - the table's
            began.set()
            while True:
                yield [flow_message(entry) for entry in FLOWS]

    collector = Collector(lambda: SERVICES, lambda _: None, lambda: Endless(looked))
    collector.start()
    assert began.wait(10)
    collector.stop()
    assert looked.acquire(timeout=10)


def test_a_collector_tells_of_errors_and_goes_on() -> None:
    looked = threading.Semaphore(0)
    errors: list[KproxyError] = []
    error = ConntrackError("no memory")
    collector = Collector(lambda: SERVICES, errors.append, lambda: FakeTable(looked, error), every_s=0.01)
    collector.start()
    for _ in range(2):
        assert looked.acquire(timeout=10)
    collector.stop()
    assert collector.latest() == ()
    assert set(errors) == {error}


def test_stopping_a_collector_that_was_never_started_is_no_error() -> None:
    Collector(lambda: SERVICES, lambda _: None).stop()
