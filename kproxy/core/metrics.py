"""The metrics as a table: name, type, labels, buckets and, for those that kube-proxy has, its own words of help.

Rules kept: what begins with `kubeproxy_` is kube-proxy's 1.36 (pkg/proxy/metrics), byte for byte, so that dashboards
and alerts stay; what begins with `kproxy_` is ours. No label's values come from the cluster's objects, but for those of
`conntrack.metrics`, which names a bounded number of them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from kproxy.core.values import Value


class MetricKind(enum.Enum):
    """How measures of a metric add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(Value, frozen=True):
    """One metric; counters' names end in `_total` as they are scraped."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds in seconds, without +Inf; of histograms only."""
    modes: frozenset[str] | None = None
    """The backends that have it; None: all."""


class Measure(Value, frozen=True):
    """Something that was counted (a counter's increment), found (a gauge's value) or timed (in seconds)."""

    name: str
    amount: float
    labels: tuple[str, ...] = ()
    """The labels' values, in the metric's order."""


class Reading(Value, frozen=True):
    """All that a metric, a counter or a gauge, has now: what is not in it is gone."""

    metric: Metric
    values: Mapping[tuple[str, ...], float]
    """By the labels' values, in the metric's order."""


def exponential(start: float, factor: float, count: int) -> tuple[float, ...]:
    """As Prometheus' ExponentialBuckets."""
    return tuple(start * factor**step for step in range(count))


def linear(start: float, width: float, count: int) -> tuple[float, ...]:
    """As Prometheus' LinearBuckets."""
    return tuple(start + width * step for step in range(count))


SYNC_BUCKETS = exponential(0.001, 2, 15)
PROGRAMMING_BUCKETS = (*linear(0.25, 0.25, 2), *linear(1, 1, 59), *linear(60, 5, 12), *linear(120, 30, 7))

C, G, H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM
FAMILY = ("ip_family",)
IPTABLES = frozenset({"iptables"})
NFTABLES = frozenset({"nftables"})
RESTORES = frozenset({"iptables", "ipvs"})
TABLES = frozenset({"iptables", "nftables"})
P = "kubeproxy_"
S = f"{P}sync_proxy_rules_"

KUBE_PROXY = (
    Metric(f"{S}duration_seconds", H, "SyncProxyRules latency in seconds", FAMILY, SYNC_BUCKETS),
    Metric(
        f"{P}sync_full_proxy_rules_duration_seconds",
        H,
        "SyncProxyRules latency in seconds for full resyncs",
        FAMILY,
        SYNC_BUCKETS,
        TABLES,
    ),
    Metric(
        f"{P}sync_partial_proxy_rules_duration_seconds",
        H,
        "SyncProxyRules latency in seconds for partial resyncs",
        FAMILY,
        SYNC_BUCKETS,
        TABLES,
    ),
    Metric(f"{S}last_timestamp_seconds", G, "The last time proxy rules were successfully synced", FAMILY),
    Metric(f"{S}last_queued_timestamp_seconds", G, "The last time a sync of proxy rules was queued", FAMILY),
    Metric(
        f"{P}network_programming_duration_seconds",
        H,
        "In Cluster Network Programming Latency in seconds",
        FAMILY,
        PROGRAMMING_BUCKETS,
    ),
    Metric(f"{S}endpoint_changes_pending", G, "Pending proxy rules Endpoint changes"),
    Metric(f"{S}endpoint_changes_total", C, "Cumulative proxy rules Endpoint changes"),
    Metric(f"{S}service_changes_pending", G, "Pending proxy rules Service changes"),
    Metric(f"{S}service_changes_total", C, "Cumulative proxy rules Service changes"),
    Metric(
        f"{S}no_local_endpoints_total",
        G,
        "Number of services with a Local traffic policy and no endpoints",
        ("traffic_policy", "ip_family"),
    ),
    Metric(
        f"{S}iptables_total",
        G,
        "Total number of iptables rules owned by kube-proxy",
        ("table", "ip_family"),
        modes=IPTABLES,
    ),
    Metric(
        f"{S}iptables_last",
        G,
        "Number of iptables rules written by kube-proxy in last sync",
        ("table", "ip_family"),
        modes=IPTABLES,
    ),
    Metric(
        f"{S}iptables_restore_failures_total",
        C,
        "Cumulative proxy iptables restore failures",
        FAMILY,
        modes=RESTORES,
    ),
    Metric(
        f"{S}iptables_partial_restore_failures_total",
        C,
        "Cumulative proxy iptables partial restore failures",
        FAMILY,
        modes=IPTABLES,
    ),
    Metric(f"{S}nftables_sync_failures_total", C, "Cumulative proxy nftables sync failures", FAMILY, modes=NFTABLES),
    Metric(
        f"{S}nftables_cleanup_failures_total",
        C,
        "Cumulative proxy nftables cleanup failures",
        FAMILY,
        modes=NFTABLES,
    ),
    Metric(
        f"{P}conntrack_reconciler_sync_duration_seconds",
        H,
        "ReconcileConntrackFlowsLatency latency in seconds",
        FAMILY,
        SYNC_BUCKETS,
    ),
    Metric(
        f"{P}conntrack_reconciler_deleted_entries_total",
        C,
        "Cumulative conntrack flows deleted by conntrack reconciler",
        FAMILY,
    ),
    Metric(f"{P}proxy_healthz_total", C, "Cumulative proxy healthz HTTP status", ("code",)),
    Metric(f"{P}proxy_livez_total", C, "Cumulative proxy livez HTTP status", ("code",)),
    Metric(
        "kubernetes_feature_enabled",
        G,
        "This metric records the data about the stage and enablement of a k8s feature.",
        ("name", "stage"),
    ),
)

COUNTED_BY_RULES = (
    Metric(
        f"{P}iptables_ct_state_invalid_dropped_packets_total",
        C,
        "packets dropped by iptables to work around conntrack problems",
        modes=IPTABLES,
    ),
    Metric(
        f"{P}iptables_localhost_nodeports_accepted_packets_total",
        C,
        "Number of packets accepted on nodeports of loopback interface",
        modes=IPTABLES,
    ),
)
"""Of kube-proxy's, what the kernel counts and is read when somebody scrapes."""

OURS = (
    Metric("kproxy_build_info", G, "Always 1; its labels say what runs.", ("version", "python_version", "backend")),
    Metric("kproxy_syncs_total", C, "Syncs by what they relied on and how they ended.", (*FAMILY, "kind", "result")),
    Metric("kproxy_sync_objects_total", C, "Kernel objects changed by syncs.", (*FAMILY, "change")),
    Metric("kproxy_sync_refused_objects_total", C, "Kernel objects refused while the rest landed.", FAMILY),
    Metric("kproxy_sync_stage_duration_seconds", H, "Syncs by stage.", (*FAMILY, "stage"), SYNC_BUCKETS),
    Metric(
        "kproxy_change_to_kernel_duration_seconds",
        H,
        "From hearing the first change that a sync took up until it was in force.",
        FAMILY,
        SYNC_BUCKETS,
    ),
    Metric(
        "kproxy_drift_objects_total",
        C,
        "Kernel objects that others had removed, changed or added, put right.",
        (*FAMILY, "object", "deed"),
    ),
    Metric("kproxy_drift_repairs_total", C, "Syncs that put drift right, by how it was noticed.", (*FAMILY, "noticed")),
    Metric("kproxy_objects_skipped_total", C, "Objects of the cluster that could not be used.", ("kind", "reason")),
    Metric("kproxy_source_errors_total", C, "Errors of the source of objects that are retried.", ("reason",)),
    Metric("kproxy_watch_restarts_total", C, "Watches that were begun again.", ("kind",)),
    Metric("kproxy_config_reloads_total", C, "Changed configuration files by what became of them.", ("result",)),
    Metric("kproxy_config_last_reload_successful", G, "Whether the configuration file as it stands is in force."),
    Metric("kproxy_services", G, "Services that this node serves.", FAMILY),
    Metric("kproxy_service_ports", G, "Service ports that this node serves.", FAMILY),
    Metric("kproxy_endpoints", G, "Serving endpoints, counted per Service port.", FAMILY),
    Metric(
        "kproxy_unsupported",
        G,
        "What is asked for and this backend cannot do; the log and `kproxy plan` say what.",
        FAMILY,
    ),
    Metric("kproxy_conntrack_reconciler_failures_total", C, "Looks for stale flows that met an error.", FAMILY),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*KUBE_PROXY, *OURS)}
"""Those that are added up here."""
