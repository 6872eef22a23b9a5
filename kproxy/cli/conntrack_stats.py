"""`kproxy conntrack stats`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from conntrack.ahead import AheadSocket
from conntrack.query import EVERYTHING, Query
from conntrack.services import Services
from conntrack.stats import Summary, Tally, summarise
from conntrack.table import Table
from kproxy.cli.conntrack_question import (
    OUTPUT,
    SOURCE_OPTIONS,
    filters,
    flows,
    known_services,
    note_undecodable,
    query_of,
    write,
)
from kproxy.cli.output import emit, heading, table
from kproxy.cli.verbosity import verbose
from kproxy.report.connection_stats import (
    GROUPS,
    HEADINGS,
    Stats,
    counter_rows,
    csv_rows,
    group_rows,
    stats_object,
    usage_text,
)
from kproxy.report.connections import csv_text
from kproxy.wiring.question import Asked

SHOWN = 10
"""Rows of a grouping, where it is one of several."""


@click.command()
@SOURCE_OPTIONS
@filters
@click.option("--by", type=click.Choice(list(GROUPS)), help="Only this grouping, and all of it.")
@click.option("--top", type=click.IntRange(min=1), help=f"So many rows of a grouping. Default: {SHOWN}, all with --by.")
@OUTPUT
@verbose
def stats(question: Asked, by: str | None, top: int | None, output: str, **given: Any) -> None:  # noqa: ANN401 - click's
    """Count flows: how full the table is, what the kernel's counters say, and who has how many flows.

    UNREPLIED are flows that nobody answered yet, STALE those that no serving endpoint answers (known with a source).

    \b
    kproxy conntrack stats
    kproxy conntrack stats --source kubernetes --by service
    kproxy conntrack stats --protocol udp --by client --top 20
    """  # noqa: D301 - click's mark for lines that stay as they are
    known = known_services(question)
    query = query_of(given, known)
    with Table(AheadSocket) as door:
        counters = door.cpu_counters()
        summary = _count(door, query, known.services)
        found = Stats(door.limits(), counters, summary)
    if output in ("json", "yaml"):
        emit(stats_object(found, by, top), output)
    elif output == "csv":
        write([csv_text(csv_rows(found, by, top))])
    else:
        _tell(found, by, top, wide=output == "wide")


def _count(door: Table, query: Query, services: Services) -> Summary:
    if query == EVERYTHING:
        tally = door.whole(_tally)
        note_undecodable(tally.reader.undecodable)
    else:
        tally = Tally()
        for seen in flows(door, query, services):
            tally.add_entry(seen.entry)
    return summarise(tally, services)


def _tally(batches: Iterator[list[bytes]]) -> Tally:
    tally = Tally()
    for batch in batches:
        tally.add(batch)
    return tally


def _tell(found: Stats, by: str | None, top: int | None, *, wide: bool) -> None:
    if by is not None:
        table((by.upper(), *HEADINGS), group_rows(found.summary, by, top))
        return
    total = found.summary.total
    heading(usage_text(found.limits))
    share = f"{total.unreplied / total.flows:.1%}" if total.flows else "none"
    click.echo(f"{total.flows} counted, {total.unreplied} unreplied ({share}), {total.stale} stale")
    for name in GROUPS:
        click.echo()
        table((name.upper(), *HEADINGS), group_rows(found.summary, name, top or SHOWN))
    click.echo()
    processors = [f"CPU {number}" for number in sorted(found.counters)] if wide else []
    table(("COUNTER", "TOTAL", *processors, "MEANING"), counter_rows(found.counters, wide=wide))
