from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import pytest

from conntrack import metrics
from conntrack.cleaner import Cleaned
from conntrack.collector import Collector
from conntrack.counters import CpuCounters, Limits
from conntrack.layout import TCP, UDP
from conntrack.metrics import REST, CleaningRecord, Metric, table_metrics
from conntrack.requests import ALL, Selection
from conntrack.stats import Count, Summary, Tally, summarise
from conntrack.table import Table
from kproxy.core.values import Family
from kproxy.errors import ConntrackError
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


def values(found: tuple[Metric, ...], name: str) -> dict[tuple[str, ...], float]:
    (metric,) = [one for one in found if one.name == name]
    return {(*one.labels.values(), *([one.suffix] if one.suffix else [])): one.value for one in metric.samples}


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


def test_cleaning_is_summed_up_with_kube_proxys_names() -> None:
    record = CleaningRecord()
    for cleaned in (
        Cleaned(Family.IPV4, 0.0005, deleted=3),
        Cleaned(Family.IPV4, 0.003, deleted=1, error="busy"),
        Cleaned(Family.IPV6, 100.0),
    ):
        record(cleaned)
    found = record.metrics()
    durations = values(found, "kubeproxy_conntrack_reconciler_sync_duration_seconds")
    assert durations["IPv4", "0.001", "_bucket"] == 1
    assert durations["IPv4", "0.002", "_bucket"] == 1
    assert durations["IPv4", "0.004", "_bucket"] == 2
    assert durations["IPv4", "+Inf", "_bucket"] == durations["IPv4", "_count"] == 2
    assert durations["IPv4", "_sum"] == pytest.approx(0.0035)
    assert durations["IPv6", "16.384", "_bucket"] == 0
    assert durations["IPv6", "+Inf", "_bucket"] == 1
    assert values(found, "kubeproxy_conntrack_reconciler_deleted_entries_total") == {("IPv4",): 4, ("IPv6",): 0}
    assert values(found, "kproxy_conntrack_reconciler_failures_total") == {("IPv4",): 1, ("IPv6",): 0}


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


def test_a_collector_tells_of_errors_and_goes_on() -> None:
    looked, errors = threading.Semaphore(0), []
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
