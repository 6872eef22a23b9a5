"""The dashboard and the alerts ask for metrics, labels and values that agents export, and for nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from conntrack.counters import MEANINGS, Limits
from conntrack.metrics import table_metrics
from conntrack.stats import Count, Summary
from kproxy.core.metrics import METRICS, MetricKind
from kproxy.effects.metrics import Metrics
from kproxy.report.measures import measures
from tests.unit.deploy.schema import DEPLOY
from tests.unit.report.test_measures import synced

FILES = DEPLOY / "helm" / "kproxy" / "files"
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]

OF_PROMETHEUS = frozenset({"instance", "job", "node"})
"""Labels that Prometheus gives to every series."""
PROMQL = frozenset(
    ["absent", "by", "count", "histogram_quantile", "increase", "max", "min", "rate", "sum", "time", "topk"]
)
SERIES = {MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count"), MetricKind.COUNTER: ("",), MetricKind.GAUGE: ("",)}

Labels = Mapping[str, frozenset[str]]


@pytest.fixture(scope="module")
def exported() -> Labels:
    """Every series that an agent has on its page, and its labels."""
    metrics = Metrics("nftables", "0.0.0")
    count = Count(1, 1, 1)
    counters = {0: dict.fromkeys(MEANINGS, 1)}
    readings = table_metrics(Limits(1, 2), counters, Summary(count, {"a": count}, {"b": count}, {}, {}, {}, 0))
    metrics.read_from(lambda: readings)
    labels: dict[str, frozenset[str]] = {"up": frozenset()}
    for family in text_string_to_metric_families(metrics.page().body.decode()):
        for sample in family.samples:
            labels[sample.name] = labels.get(sample.name, frozenset()) | sample.labels.keys()
    for metric in METRICS.values():
        for suffix in SERIES[metric.kind]:
            more = {"le"} if suffix == "_bucket" else set()
            labels[metric.name + suffix] = frozenset(metric.labels) | more
    return labels


def expressions() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]


EXPRESSIONS = dict(expressions())


def without_strings(expression: str) -> str:
    return re.sub(r'"[^"]*"', '""', expression)


def series_of(expression: str) -> set[str]:
    """What is neither a label, a duration, a variable nor a word of PromQL."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on)\s*\([^)]*\)", " ", without_strings(expression))
    return set(re.findall(r"(?<![\w.$])[a-zA-Z_:][\w:]*", bare)) - PROMQL


def labels_of(expression: str) -> set[str]:
    bare = without_strings(expression)
    selected = {name for inside in re.findall(r"\{([^}]*)\}", bare) for name in re.findall(r"(\w+)\s*[=!]", inside)}
    grouped = {name for inside in re.findall(r"\bby\s*\(([^)]*)\)", bare) for name in re.findall(r"\w+", inside)}
    return selected | grouped


def mentioned(text: str) -> set[str]:
    """Labels in a legend or an annotation."""
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text))


def unknown(expression: str, exported: Labels) -> set[str]:
    """The series, or else the labels, that no agent has."""
    series = series_of(expression)
    known = OF_PROMETHEUS.union(*(exported.get(name, frozenset()) for name in series))
    return (series - exported.keys()) or (labels_of(expression) - known)


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_everything_that_is_asked_for_is_exported(place: str, exported: Labels) -> None:
    assert series_of(EXPRESSIONS[place])
    assert unknown(EXPRESSIONS[place], exported) == set()


@pytest.mark.parametrize(
    ("expression", "missing"),
    [
        ("rate(kproxy_sync_total[5m]) > 0", {"kproxy_sync_total"}),
        ("sum(kproxy_syncs) by (kind)", {"kproxy_syncs"}),
        ('kproxy_syncs_total{outcome!="success"}', {"outcome"}),
        (
            "sum by (le) (rate(kproxy_change_to_kernel_duration_seconds[5m]))",
            {"kproxy_change_to_kernel_duration_seconds"},
        ),
        ("sum by (service) (kproxy_conntrack_entries)", {"service"}),
        ("kproxy_conntrack_drops_total", {"kproxy_conntrack_drops_total"}),
    ],
)
def test_the_check_finds_what_does_not_exist(expression: str, missing: set[str], exported: Labels) -> None:
    assert unknown(expression, exported) == missing


def test_the_result_that_is_no_alarm_is_the_one_that_is_counted() -> None:
    """`result!="success"` would fire for ever if success had another name."""
    values = {value for one in EXPRESSIONS.values() for value in re.findall(r'result!?="(\w+)"', one)}
    assert values == {one.labels[2] for one in measures(synced()) if one.name == "kproxy_syncs_total"}


def test_texts_name_labels_that_their_expression_keeps(exported: Labels) -> None:
    texts: list[tuple[str, str]] = [
        (target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]
    ]
    texts += [(rule["expr"], text) for rule in ALERTS for text in rule["annotations"].values()]
    for expression, text in texts:
        grouped = re.findall(r"^(?:topk\(\d+, )?(?:\w+\(\d[\d.]*, )?\w+ by \(([^)]*)\)", expression)
        kept = set(re.findall(r"\w+", grouped[0])) if grouped else set(OF_PROMETHEUS).union(
            *(exported[name] for name in series_of(expression))
        )  # fmt: skip
        assert mentioned(text) <= kept, (expression, text)


def test_panels_stand_side_by_side() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: Any = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in own) < 24
        assert not own & cells
        cells |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_says_how_bad_and_what() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
