"""`kproxy conntrack check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click

from conntrack.ahead import AheadSocket
from conntrack.check import (
    Destination,
    Finding,
    Pressure,
    full_table,
    growing_counters,
    ranked,
    source_ports,
    stale_flows,
)
from conntrack.counters import total
from conntrack.entry import FIELDS, address_bytes, entry_of
from conntrack.query import EVERYTHING, Query, look
from conntrack.services import Services
from conntrack.stats import Tally
from conntrack.table import Table
from conntrack.wire import Reader
from kproxy.cli.conntrack_question import (
    OUTPUT,
    SOURCE_OPTIONS,
    filters,
    known_services,
    note_undecodable,
    query_of,
    write,
)
from kproxy.cli.output import emit, note, table
from kproxy.cli.verbosity import verbose
from kproxy.report.connection_stats import finding_object, usage_text
from kproxy.report.connections import csv_text
from kproxy.wiring.question import Asked

CLEAN, FINDINGS = 0, 1


@click.command()
@SOURCE_OPTIONS
@filters
@OUTPUT
@verbose
def check(question: Asked, output: str, **given: Any) -> int:  # noqa: ANN401 - what click passes
    """Look for what is wrong: stale and untranslated flows, dead endpoints, scarce source ports, a full table.

    Exit code 1 if anything is found. Without a source of Services only ports, table and counters are looked at. With
    conditions only flows that meet them, and the source ports towards what answers those; the room of the table and the
    kernel's counters are everybody's and always looked at.

    \b
    kproxy conntrack check --source kubernetes
    kproxy conntrack check -f manifests/ --service shop/cart -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    known = known_services(question)
    query = query_of(given, known)
    if not known.any:
        note("Services are not known (-f, --source): stale flows and dead endpoints are not looked for")
    with Table(AheadSocket) as door:
        before = total(door.cpu_counters())
        looked = door.whole(lambda batches: _look(batches, query, known.services))
        limits = door.limits()
        after = total(door.cpu_counters())
    note_undecodable(looked.undecodable)
    found = ranked(
        [
            *full_table(limits),
            *source_ports(looked.pressure, looked.towards),
            *stale_flows(looked.tally, known.services),
            *growing_counters(before, after),
        ]
    )
    _print(found, output)
    if output in ("table", "wide") and not found:
        note(f"nothing is wrong: {usage_text(limits)}")
    return FINDINGS if found else CLEAN


class _Looked(NamedTuple):
    """The flows that are wanted, all use of source ports, and what answers the flows that are wanted (None: all)."""

    tally: Tally
    pressure: Pressure
    towards: set[Destination] | None
    undecodable: int


def _look(batches: Iterator[list[bytes]], query: Query, services: Services) -> _Looked:
    tally, pressure, reader = Tally(clients=False), Pressure(), Reader(FIELDS)
    towards: set[Destination] | None = None if query == EVERYTHING else set()
    for batch in batches:
        pressure.add(batch)
        if towards is None:
            tally.add(batch)
            continue
        for entry in map(entry_of, reader.rows(batch)):
            if query.wants(look(services, entry)):
                tally.add_entry(entry)
                towards.add((entry.protocol, address_bytes(entry.reply.source), entry.reply.source_port))
    return _Looked(tally, pressure, towards, tally.reader.undecodable + reader.undecodable)


HEADINGS = ("SEVERITY", "FINDING", "WHAT TO DO")
WIDE = ("SEVERITY", "KIND", "SERVICE", "FLOWS", "FINDING", "WHAT TO DO")


def _print(found: list[Finding], output: str) -> None:
    if output in ("json", "yaml"):
        emit([finding_object(one) for one in found], output)
    elif output == "csv":
        write([csv_text(_rows(found))])
    elif found and output == "wide":
        rows = ((one.severity, one.kind, one.service or "-", str(one.flows), one.what, one.remedy) for one in found)
        table(WIDE, rows)
    elif found:
        table(HEADINGS, [(one.severity.value, one.what, one.remedy) for one in found])


def _rows(found: list[Finding]) -> Iterator[Sequence[object]]:
    yield "severity", "kind", "what", "remedy", "service", "flows"
    for one in found:
        yield one.severity, one.kind, one.what, one.remedy, one.service, one.flows
