"""The reference, man pages and completion are what the code says now, and are what they claim to be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conntrack.counters import Limits
from conntrack.metrics import table_metrics
from conntrack.services import NO_SERVICES
from conntrack.stats import Tally, summarise
from kproxy.config.load import read_config
from kproxy.core.metrics import COUNTED_BY_RULES, MetricKind, Reading
from kproxy.effects.metrics import Metrics
from lab.machine import ROOT
from tests.docs import metrics_page
from tests.docs.generated import COMPLETIONS, MAN, REFERENCE, files, standing

FILES = files()
OF_THE_PROCESS = ("process_", "python_")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.is_file(), f"{path} is missing: scripts/docs --write makes it"
    assert path.read_text() == FILES[path], f"{path} is not what the code says: scripts/docs --write makes it anew"


def test_nothing_stands_there_that_nothing_makes() -> None:
    assert standing() - FILES.keys() == set()


@pytest.mark.parametrize("backend", ["nftables", "iptables", "ipvs"])
def test_the_metrics_of_the_page_are_those_that_are_exported(backend: str) -> None:
    metrics = Metrics(backend, "0")
    metrics.read_from(lambda: table_metrics(Limits(0, 0), {0: dict.fromkeys(COUNTED, 0)}, NOBODY))
    counted = tuple(Reading(one, {(): 0}) for one in COUNTED_BY_RULES if one.modes and backend in one.modes)
    metrics.read_from(lambda: counted)
    families = text_string_to_metric_families(metrics.page().body.decode())
    exported = {one.name for one in families if not one.name.startswith(OF_THE_PROCESS)}
    on_page = {
        metrics_page.scraped(one).removesuffix("_total") if one.kind is MetricKind.COUNTER else one.name
        for one in metrics_page.all_metrics()
        if one.modes is None or backend in one.modes
    }
    assert exported == on_page


COUNTED = list(metrics_page.connections.COUNTERS)
NOBODY = summarise(Tally(), NO_SERVICES)


def test_the_example_configuration_can_be_used() -> None:
    page = (REFERENCE / "configuration.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    config = read_config(text, "example")
    assert (config.warnings, config.own.reject_unlisted_ports) == ((), True)


def test_bash_finds_no_fault_with_the_completion() -> None:
    assert subprocess.run(["bash", "-n", COMPLETIONS["bash"]], check=False).returncode == 0


def test_man_pages_begin_as_man_pages_do() -> None:
    for page in MAN.iterdir():
        head = page.read_text().splitlines()
        assert head[0].startswith('.TH "KPROXY')
        assert head[1:3] == [".SH NAME", head[2]]
        assert " \\- " in head[2]
