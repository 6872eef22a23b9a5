"""What of the table of connections is worth watching over time, as values that any exporter can serve. Pure.

Cardinality is bounded: of Services and endpoints only the first N by flows are
named, the rest is summed. What became of stale flows is `kproxy.report.measures`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from conntrack.counters import MEANINGS, CpuCounters, Limits, total
from conntrack.stats import Count, Groups, Summary
from kproxy.core.metrics import Metric, MetricKind, Reading

REST: Final = "(others)"
"""Who stands for all that are not named."""
NAMED: Final = 50
"""How many Services, and how many endpoints, are named."""
P: Final = "kproxy_conntrack_"
SERVICE, ENDPOINT = ("service",), ("endpoint",)

ENTRIES = Metric(f"{P}entries", MetricKind.GAUGE, "Flows in the table.")
LIMIT = Metric(f"{P}limit", MetricKind.GAUGE, "nf_conntrack_max: how many flows the table may hold.")
UNREPLIED = Metric(f"{P}unreplied_entries", MetricKind.GAUGE, "Flows that nobody answered yet.")
COUNTERS: Mapping[str, Metric] = {
    name: Metric(f"{P}{name}_total", MetricKind.COUNTER, text) for name, text in MEANINGS.items()
}
SERVICE_FLOWS = Metric(f"{P}service_flows", MetricKind.GAUGE, "Flows per Service port.", SERVICE)
SERVICE_UNREPLIED = Metric(
    f"{P}service_unreplied_flows", MetricKind.GAUGE, "Flows per Service port that nobody answered yet.", SERVICE
)
SERVICE_STALE = Metric(
    f"{P}service_stale_flows", MetricKind.GAUGE, "Flows per Service port that no serving endpoint answers.", SERVICE
)
ENDPOINT_FLOWS = Metric(f"{P}endpoint_flows", MetricKind.GAUGE, "Flows per endpoint.", ENDPOINT)


def table_metrics(limits: Limits, counters: Mapping[int, CpuCounters], summary: Summary) -> tuple[Reading, ...]:
    """What one look at the table gives."""
    services, endpoints = _named(summary.services), _named(summary.endpoints)
    return (
        Reading(ENTRIES, {(): limits.entries}),
        Reading(LIMIT, {(): limits.maximum}),
        Reading(UNREPLIED, {(): summary.total.unreplied}),
        *(Reading(COUNTERS[name], {(): value}) for name, value in total(counters).items()),
        Reading(SERVICE_FLOWS, {name: one.flows for name, one in services.items()}),
        Reading(SERVICE_UNREPLIED, {name: one.unreplied for name, one in services.items()}),
        Reading(SERVICE_STALE, {name: one.stale for name, one in services.items()}),
        Reading(ENDPOINT_FLOWS, {name: one.flows for name, one in endpoints.items()}),
    )


def _named(groups: Groups) -> Mapping[tuple[str, ...], Count]:
    """The first of them by their names, and one for all others."""
    ranked = list(groups.items())
    named: dict[tuple[str, ...], Count] = {(name,): count for name, count in ranked[:NAMED]}
    rest = [count for _, count in ranked[NAMED:]]
    if not rest:
        return named
    others = Count(sum(one.flows for one in rest), sum(one.unreplied for one in rest), sum(one.stale for one in rest))
    return {**named, (REST,): others}
