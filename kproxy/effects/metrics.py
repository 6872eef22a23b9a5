"""The metrics door: counters, gauges and histograms of prometheus_client, made from the table of `core.metrics`.

Rules kept: a metric that another backend has does not exist; a measure of it is passed over; a metric without labels
is there from the start with the value 0, as in kube-proxy, and so are counters by family alone; series of creation
times are not told, for the same reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from kproxy.core.metrics import FAMILY, METRICS, Measure, Metric, MetricKind, Reading
from kproxy.core.values import Family
from kproxy.effects.page import Page

Series = Counter | Gauge | Histogram


class Metrics:
    """What was measured so far; safe to use from several threads."""

    def __init__(self, backend: str, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the package leaves this one bare
        self.registry = CollectorRegistry()
        self._series: Mapping[str, Series] = {
            name: _series(metric, self.registry)
            for name, metric in METRICS.items()
            if metric.modes is None or backend in metric.modes
        }
        self._slis = CollectorRegistry()
        self._healthcheck = Gauge(
            "kubernetes_healthcheck",
            "This metric records the result of a single healthcheck.",
            ("name", "type"),
            registry=self._slis,
        )
        self._healthchecks = Counter(
            "kubernetes_healthchecks_total",
            "This metric records the results of all healthcheck.",
            ("name", "type", "status"),
            registry=self._slis,
        )
        for collector in (ProcessCollector, GCCollector, PlatformCollector):
            collector(registry=self.registry)
        python = ".".join(map(str, sys.version_info[:3]))
        for name, series in self._series.items():
            if isinstance(series, Counter) and METRICS[name].labels == FAMILY:
                for family in Family:
                    series.labels(family.label)
        self.take([Measure("kproxy_build_info", 1, (version, python, backend))])

    def take(self, measures: Iterable[Measure]) -> None:
        """Add measures."""
        for measure in measures:
            series = self._series.get(measure.name)
            if series is None:
                continue
            one = series.labels(*measure.labels) if measure.labels else series
            if isinstance(one, Counter):
                one.inc(measure.amount)
            elif isinstance(one, Gauge):
                one.set(measure.amount)
            else:
                one.observe(measure.amount)

    def read_from(self, latest: Callable[[], Iterable[Reading]]) -> None:
        """Ask for these too whenever somebody scrapes."""
        self.registry.register(_Readings(latest))

    def page(self) -> Page:
        """All of it in Prometheus' text format."""
        return Page(generate_latest(self.registry), CONTENT_TYPE_LATEST)

    def pinged(self) -> None:
        """Somebody asked whether the metrics port answers, which it did."""
        self._healthcheck.labels("ping", "healthz").set(1)
        self._healthchecks.labels("ping", "healthz", "success").inc()

    def slis_page(self) -> Page:
        """What Kubernetes components tell of their health checks (component-base/metrics/prometheus/slis)."""
        return Page(generate_latest(self._slis), CONTENT_TYPE_LATEST)


class _Readings(Collector):
    """Metrics that are not added up here but read elsewhere."""

    def __init__(self, latest: Callable[[], Iterable[Reading]]) -> None:
        self._latest = latest

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Of prometheus_client: what there is now."""
        for reading in self._latest():
            metric = reading.metric
            kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in reading.values.items():
                family.add_metric(labels, value)
            yield family


def _series(metric: Metric, registry: CollectorRegistry) -> Series:
    if metric.kind is MetricKind.HISTOGRAM:
        return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
    kind = Counter if metric.kind is MetricKind.COUNTER else Gauge
    return kind(metric.name, metric.help, metric.labels, registry=registry)
