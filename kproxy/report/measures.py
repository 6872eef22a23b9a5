"""What news come to in metrics: the one place that knows both. Pure; `effects.metrics` adds up."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator

from kproxy.core.document import Content, Document, ObjectId
from kproxy.core.metrics import Measure
from kproxy.core.plan import Action, NodePlan, PortPlan
from kproxy.core.values import Family
from kproxy.errors import ParseError
from kproxy.ports import Unsupported
from kproxy.report.drift import Drift
from kproxy.report.news import Cleaned, Heard, News, Probed, Reloaded, Synced, Troubled, WatchBegan

RULES = "kubeproxy_sync_proxy_rules_"
IPTABLES = "iptables"
TABLES = ("nat", "filter")
PROBES = {"/healthz": "kubeproxy_proxy_healthz_total", "/livez": "kubeproxy_proxy_livez_total"}


@functools.singledispatch
def measures(news: News) -> Iterator[Measure]:
    """What a piece of news adds to the metrics."""
    raise TypeError(type(news))


@measures.register
def _(news: Heard) -> Iterator[Measure]:
    yield Measure(f"{RULES}service_changes_total", news.services)
    yield Measure(f"{RULES}endpoint_changes_total", news.endpoints)
    for family in news.families:
        yield Measure(f"{RULES}last_queued_timestamp_seconds", news.at, (family.label,))


@measures.register
def _(news: Synced) -> Iterator[Measure]:
    family = (news.family.label,)
    kind = "full" if news.observed else "partial"
    yield Measure(f"{RULES}duration_seconds", news.took_s, family)
    yield Measure(f"kubeproxy_sync_{kind}_proxy_rules_duration_seconds", news.took_s, family)
    for stage, took_s in news.stages.items():
        yield Measure("kproxy_sync_stage_duration_seconds", took_s, (*family, stage))
    result = "success" if news.success else "failed" if news.error else "waiting" if news.waiting else "refused"
    yield Measure("kproxy_syncs_total", 1, (*family, kind, result))
    yield Measure("kproxy_sync_refused_objects_total", len(news.refusals), family)
    if news.error is not None:
        yield from _failure(news, family)
        return
    change = news.change
    for word, part in (("added", change.added), ("changed", change.changed), ("removed", change.removed)):
        yield Measure("kproxy_sync_objects_total", len(part), (*family, word))
    yield from _drift(news.drift, family)
    if news.backend == IPTABLES:
        written = [(key, one.content) for key, one in change.added.items()]
        written += [(key, one.new) for key, one in change.changed.items()]
        yield from _rules(f"{RULES}iptables_last", written, family)
    if news.success:
        yield Measure(f"{RULES}last_timestamp_seconds", news.at, family)
        for took_s in news.programming_s:
            yield Measure("kubeproxy_network_programming_duration_seconds", took_s, family)
        if news.waited_s is not None:
            yield Measure("kproxy_change_to_kernel_duration_seconds", news.waited_s, family)


def _drift(drift: Drift, family: tuple[str, ...]) -> Iterator[Measure]:
    for (kind, deed), count in drift.counts.items():
        yield Measure("kproxy_drift_objects_total", count, (*family, kind, deed))
    if drift:
        yield Measure("kproxy_drift_repairs_total", 1, (*family, drift.noticed))


def rule_measures(family: Family, document: Document) -> Iterator[Measure]:
    """How many rules an iptables Document has."""
    chains = (chain for fragment in document.values() for chain in fragment.items())
    yield from _rules(f"{RULES}iptables_total", chains, (family.label,))


def _rules(name: str, chains: Iterable[tuple[ObjectId, Content]], family: tuple[str, ...]) -> Iterator[Measure]:
    """The rules of each table, of chains as the iptables backend has them: (table, chain) and a tuple of rules."""
    counts = dict.fromkeys(TABLES, 0)
    for key, rules in chains:
        if isinstance(key, tuple) and isinstance(rules, tuple):
            counts[key[0]] = counts.get(key[0], 0) + len(rules)
    for table, count in counts.items():
        yield Measure(name, count, (table, *family))


def _failure(news: Synced, family: tuple[str, ...]) -> Iterator[Measure]:
    """A failed pass in the words of its mode; those of the others do not exist and are passed over."""
    yield Measure(f"{RULES}nftables_sync_failures_total", 1, family)
    yield Measure(f"{RULES}iptables_restore_failures_total", 1, family)
    if not news.observed:
        yield Measure(f"{RULES}iptables_partial_restore_failures_total", 1, family)


@measures.register
def _(news: Troubled) -> Iterator[Measure]:
    error = news.error
    if isinstance(error, ParseError):
        kind = error.what.partition(" ")[0]
        yield Measure("kproxy_objects_skipped_total", 1, (kind, field_name(error.field)))
    else:
        yield Measure("kproxy_source_errors_total", 1, (type(error).__name__,))


def field_name(field: str) -> str:
    """A field's path without indices and keys, so that there are only as many as the API has."""
    return re.sub(r"\[[^]]*\]?", "", field) or "object"


@measures.register
def _(news: Cleaned) -> Iterator[Measure]:
    family = (news.family.label,)
    yield Measure("kubeproxy_conntrack_reconciler_sync_duration_seconds", news.took_s, family)
    yield Measure("kubeproxy_conntrack_reconciler_deleted_entries_total", news.deleted, family)
    yield Measure("kproxy_conntrack_reconciler_failures_total", bool(news.error), family)


@measures.register
def _(news: Probed) -> Iterator[Measure]:
    if news.path in PROBES:
        yield Measure(PROBES[news.path], 1, (str(news.status),))


@measures.register
def _(news: WatchBegan) -> Iterator[Measure]:
    yield Measure("kproxy_watch_restarts_total", 1, (news.kind,))


@measures.register
def _(news: Reloaded) -> Iterator[Measure]:
    yield Measure("kproxy_config_reloads_total", 1, ("invalid" if news.reason else "applied",))
    yield Measure("kproxy_config_last_reload_successful", not news.reason)


def plan_measures(family: Family, plan: NodePlan) -> Iterator[Measure]:
    """What a plan says of itself, for when somebody asks: it takes a pass over its Services."""
    ports = [port for service in plan.services.values() for port in service.ports]
    label = (family.label,)
    yield Measure("kproxy_services", len(plan.services), label)
    yield Measure("kproxy_service_ports", len(ports), label)
    yield Measure("kproxy_endpoints", sum(len(port.serving) for port in ports), label)
    internal, external = sum(map(_lacks_internal, ports)), sum(map(_lacks_external, ports))
    yield Measure(f"{RULES}no_local_endpoints_total", internal, ("internal", *label))
    yield Measure(f"{RULES}no_local_endpoints_total", external, ("external", *label))


def unsupported_measure(family: Family, unsupported: Collection[Unsupported]) -> Measure:
    """How much of a plan the backend leaves out."""
    return Measure("kproxy_unsupported", len(unsupported), (family.label,))


def _lacks_internal(port: PortPlan) -> bool:
    """Whether the ClusterIP drops: policy Local and no endpoint here, though there are some elsewhere."""
    return any(row.action is Action.DROP for row in port.internal)


def _lacks_external(port: PortPlan) -> bool:
    return any(row.action is Action.DROP for row in port.external) and any(
        not frontend.kind.is_internal for frontend in port.frontends
    )
