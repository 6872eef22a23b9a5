"""What of connections is worth watching over time, as plain values that any exporter can serve.

Cardinality is bounded: of Services and endpoints only the first N by flows are
named, the rest is summed. Names that kube-proxy has are kube-proxy's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from conntrack.cleaner import Cleaned
from conntrack.counters import MEANINGS, CpuCounters, Limits, total
from conntrack.stats import Count, Groups, Summary
from kproxy.core.values import Family, Value

REST: Final = "(others)"
"""Who stands for all that are not named."""
NAMED: Final = 50
"""How many Services, and how many endpoints, are named."""
DURATION_BUCKETS_S: Final = tuple(0.001 * 2**power for power in range(15))
"""kube-proxy's, for all of its durations."""

Labels = Mapping[str, str]


class Sample(Value, frozen=True):
    """One value of a metric."""

    labels: Labels
    value: float
    suffix: str = ""
    """Of the name: `_bucket`, `_sum` and `_count` of a histogram."""


class Metric(Value, frozen=True):
    """A metric family; `kind` is gauge, counter or histogram, as in Prometheus' text format."""

    name: str
    kind: str
    text: str
    samples: tuple[Sample, ...]


def table_metrics(limits: Limits, counters: Mapping[int, CpuCounters], summary: Summary) -> tuple[Metric, ...]:
    """What one look at the table gives."""
    services, endpoints = summary.services, summary.endpoints
    return (
        _gauge("kproxy_conntrack_entries", "Flows in the table.", limits.entries),
        _gauge("kproxy_conntrack_limit", "nf_conntrack_max: how many flows the table may hold.", limits.maximum),
        _gauge("kproxy_conntrack_unreplied_entries", "Flows that nobody answered yet.", summary.total.unreplied),
        *(
            Metric(f"kproxy_conntrack_{name}_total", "counter", MEANINGS[name], (Sample({}, value),))
            for name, value in total(counters).items()
        ),
        _by("kproxy_conntrack_service_flows", "Flows per Service port.", "service", services, lambda one: one.flows),
        _by(
            "kproxy_conntrack_service_unreplied_flows",
            "Flows per Service port that nobody answered yet.",
            "service",
            services,
            lambda one: one.unreplied,
        ),
        _by(
            "kproxy_conntrack_service_stale_flows",
            "Flows per Service port that no serving endpoint answers.",
            "service",
            services,
            lambda one: one.stale,
        ),
        _by("kproxy_conntrack_endpoint_flows", "Flows per endpoint.", "endpoint", endpoints, lambda one: one.flows),
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return Metric(name, "gauge", text, (Sample({}, value),))


def _by(name: str, text: str, label: str, groups: Groups, value: Callable[[Count], int]) -> Metric:
    ranked = list(groups.items())
    named = [Sample({label: key}, value(count)) for key, count in ranked[:NAMED]]
    rest = sum(value(count) for _, count in ranked[NAMED:])
    return Metric(name, "gauge", text, (*named, Sample({label: REST}, rest)) if ranked[NAMED:] else tuple(named))


class CleaningRecord:
    """Sums up what the cleaner reports; may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._took_s: dict[Family, float] = {}
        self._counts: dict[Family, list[int]] = {}
        self._deleted: dict[Family, int] = {}
        self._failed: dict[Family, int] = {}

    def __call__(self, cleaned: Cleaned) -> None:
        """Take over one look's result."""
        family = cleaned.family
        with self._lock:
            counts = self._counts.setdefault(family, [0] * (len(DURATION_BUCKETS_S) + 1))
            counts[_bucket(cleaned.took_s)] += 1
            self._took_s[family] = self._took_s.get(family, 0.0) + cleaned.took_s
            self._deleted[family] = self._deleted.get(family, 0) + cleaned.deleted
            self._failed[family] = self._failed.get(family, 0) + bool(cleaned.error)

    def metrics(self) -> tuple[Metric, ...]:
        """Durations, deletions and failures since the start, by family."""
        with self._lock:
            durations = tuple(
                sample
                for family, counts in self._counts.items()
                for sample in _histogram(family, counts, self._took_s[family])
            )
            deleted = tuple(Sample(_of(family), number) for family, number in self._deleted.items())
            failed = tuple(Sample(_of(family), number) for family, number in self._failed.items())
        return (
            Metric(
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                "histogram",
                "How long a look for stale flows took.",
                durations,
            ),
            Metric(
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                "counter",
                "Stale flows that were removed.",
                deleted,
            ),
            Metric(
                "kproxy_conntrack_reconciler_failures_total",
                "counter",
                "Looks for stale flows that met an error.",
                failed,
            ),
        )


def _of(family: Family) -> Labels:
    return {"ip_family": family.label}


def _bucket(seconds: float) -> int:
    return next((number for number, most in enumerate(DURATION_BUCKETS_S) if seconds <= most), len(DURATION_BUCKETS_S))


def _histogram(family: Family, counts: Sequence[int], took_s: float) -> tuple[Sample, ...]:
    bounds = (*(f"{bound:g}" for bound in DURATION_BUCKETS_S), "+Inf")
    buckets = zip(bounds, accumulate(counts), strict=True)
    return (
        *(Sample({**_of(family), "le": bound}, number, "_bucket") for bound, number in buckets),
        Sample(_of(family), took_s, "_sum"),
        Sample(_of(family), sum(counts), "_count"),
    )
