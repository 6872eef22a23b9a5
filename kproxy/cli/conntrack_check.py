"""`kproxy conntrack check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from conntrack.ahead import AheadSocket
from conntrack.check import Finding, Pressure, full_table, growing_counters, ranked, source_ports, stale_flows
from conntrack.counters import total
from conntrack.stats import Tally
from conntrack.table import Table
from kproxy.cli.conntrack_question import OUTPUT, SOURCE_OPTIONS, known_services, write
from kproxy.cli.output import emit, note, table
from kproxy.cli.verbosity import verbose
from kproxy.report.connection_stats import finding_object, usage_text
from kproxy.report.connections import csv_text
from kproxy.wiring.question import Asked

CLEAN, FINDINGS = 0, 1
HEADINGS = ("SEVERITY", "FINDING", "WHAT TO DO")


@click.command()
@SOURCE_OPTIONS
@OUTPUT
@verbose
def check(question: Asked, output: str) -> int:
    """Look for what is wrong: stale and untranslated flows, dead endpoints, scarce source ports, a full table.

    Exit code 1 if anything is found. Without a source of Services only ports, table and counters are looked at.

    \b
    kproxy conntrack check --source kubernetes
    kproxy conntrack check -f manifests/ -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    known = known_services(question)
    if not known.any:
        note("Services are not known (-f, --source): stale flows and dead endpoints are not looked for")
    with Table(AheadSocket) as door:
        before = total(door.cpu_counters())
        tally, pressure = door.whole(_look)
        limits = door.limits()
        after = total(door.cpu_counters())
    found = ranked(
        [
            *full_table(limits),
            *source_ports(pressure),
            *stale_flows(tally, known.services),
            *growing_counters(before, after),
        ]
    )
    _print(found, output)
    if output in ("table", "wide") and not found:
        note(f"nothing is wrong: {usage_text(limits)}")
    return FINDINGS if found else CLEAN


def _look(batches: Iterator[list[bytes]]) -> tuple[Tally, Pressure]:
    tally, pressure = Tally(clients=False), Pressure()
    for batch in batches:
        tally.add(batch)
        pressure.add(batch)
    return tally, pressure


def _print(found: list[Finding], output: str) -> None:
    if output in ("json", "yaml"):
        emit([finding_object(one) for one in found], output)
    elif output == "csv":
        write([csv_text(_rows(found))])
    elif found:
        table(HEADINGS, [(one.severity.value, one.what, one.remedy) for one in found])


def _rows(found: list[Finding]) -> Iterator[Sequence[object]]:
    yield "severity", "kind", "what", "remedy", "service", "flows"
    for one in found:
        yield one.severity, one.kind, one.what, one.remedy, one.service, one.flows
