"""The reference of the metrics, from the tables that export them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from conntrack import metrics as connections
from kproxy.core.metrics import COUNTED_BY_RULES, KUBE_PROXY, OURS, Metric, MetricKind
from tests.docs.cli_page import escaped

HEAD = """\
# Metrics

`/metrics` on `metricsBindAddress` (127.0.0.1:10249), in Prometheus' text format. What begins with `kubeproxy_` is
kube-proxy's, name by name and bucket by bucket, so dashboards and alerts stay; what begins with `kproxy_` is ours.
Labels never come from the cluster's objects, but for `service` and `endpoint` of the connections, of which the first 50
are named. A metric of another backend does not exist. Beside these there are the usual ones of the process
(`process_…`, `python_…`), and `kubernetes_healthcheck` and `kubernetes_healthchecks_total` on `/metrics/slis`.
"""


def connection_metrics() -> list[Metric]:
    """Those of connection tracking."""
    return [one for one in vars(connections).values() if isinstance(one, Metric)] + list(connections.COUNTERS.values())


def all_metrics() -> list[Metric]:
    """Everything that is exported, whatever the backend."""
    return [*KUBE_PROXY, *COUNTED_BY_RULES, *OURS, *connection_metrics()]


def page() -> str:
    """The page as Markdown."""
    sections: tuple[tuple[str, Iterable[Metric]], ...] = (
        ("kube-proxy's", (*KUBE_PROXY, *COUNTED_BY_RULES)),
        ("Ours", OURS),
        ("Of connections", connection_metrics()),
    )
    return "\n".join([HEAD, *("\n".join(_section(title, several)) + "\n" for title, several in sections)])


def _section(title: str, several: Iterable[Metric]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| metric | type | labels | backends | what it says |\n|---|---|---|---|---|"
    for one in several:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        modes = ", ".join(sorted(one.modes)) if one.modes else "all"
        yield f"| `{scraped(one)}` | {one.kind.value} | {labels} | {modes} | {escaped(one.help)} |"


def scraped(metric: Metric) -> str:
    """The name as it is scraped."""
    is_bare = metric.kind is MetricKind.COUNTER and not metric.name.endswith("_total")
    return f"{metric.name}_total" if is_bare else metric.name
