"""A counted table of connections, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from conntrack.check import Finding
from conntrack.counters import MEANINGS, CpuCounters, Limits, total
from conntrack.stats import Count, Groups, Summary
from kproxy.core.values import Value

GROUPS: Mapping[str, str] = {
    "service": "services",
    "endpoint": "endpoints",
    "client": "clients",
    "state": "states",
    "protocol": "protocols",
}
"""What flows can be grouped by, and the part of a Summary that says so."""
HEADINGS = ("FLOWS", "SHARE", "UNREPLIED", "STALE")


class Stats(Value, frozen=True):
    """All that `kproxy conntrack stats` shows."""

    limits: Limits
    counters: Mapping[int, CpuCounters]
    summary: Summary


def stats_object(stats: Stats, by: str | None, top: int | None) -> dict[str, object]:
    """Everything, or one grouping, as plain data."""
    total_counters = total(stats.counters)
    shown: dict[str, object] = {
        "table": {
            "entries": stats.limits.entries,
            "maximum": stats.limits.maximum,
            "usage": round(stats.limits.usage, 4),
        },
        "counters": {name: {"total": value, "meaning": MEANINGS[name]} for name, value in total_counters.items()},
        "perCpu": [{"cpu": cpu, **values} for cpu, values in sorted(stats.counters.items())],
        "total": _count_object(stats.summary.total),
        "distinctClients": stats.summary.distinct_clients,
    }
    for name, part in GROUPS.items():
        if by in (None, name):
            shown[part] = [{"name": key, **_count_object(one)} for key, one in group(stats.summary, name, top).items()]
    return shown


def _count_object(count: Count) -> dict[str, object]:
    return {"flows": count.flows, "unreplied": count.unreplied, "stale": count.stale}


def group(summary: Summary, by: str, top: int | None) -> Groups:
    """The first `top` of a grouping, None: all there are."""
    groups: Groups = getattr(summary, GROUPS[by])
    return dict(list(groups.items())[:top])


def group_rows(summary: Summary, by: str, top: int | None) -> Iterator[Sequence[str]]:
    """A grouping as rows of name and `HEADINGS`."""
    flows = max(summary.total.flows, 1)
    for name, count in group(summary, by, top).items():
        yield name, str(count.flows), f"{count.flows / flows:.1%}", str(count.unreplied), str(count.stale)


def counter_rows(counters: Mapping[int, CpuCounters], *, wide: bool) -> Iterator[Sequence[str]]:
    """Each counter with its total, its values by processor if `wide`, and what it means."""
    for name, value in total(counters).items():
        each = [str(one.get(name, 0)) for _, one in sorted(counters.items())] if wide else []
        yield name, str(value), *each, MEANINGS[name]


def csv_rows(stats: Stats, by: str | None, top: int | None) -> Iterator[Sequence[object]]:
    """Every number of the groupings, one per line."""
    yield "group", "name", "flows", "unreplied", "stale"
    for name in GROUPS:
        if by in (None, name):
            for key, count in group(stats.summary, name, top).items():
                yield name, key, count.flows, count.unreplied, count.stale


def usage_text(limits: Limits) -> str:
    """How full the table is, in a sentence."""
    if not limits.maximum:
        return f"{limits.entries} flows, no limit"
    return f"{limits.entries} of {limits.maximum} flows ({limits.usage:.1%} of the table)"


def finding_object(finding: Finding) -> dict[str, object]:
    """A finding as plain data."""
    return {
        "severity": finding.severity.value,
        "kind": finding.kind,
        "what": finding.what,
        "remedy": finding.remedy,
        "service": finding.service or None,
        "flows": finding.flows,
    }
