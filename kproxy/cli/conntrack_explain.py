"""`kproxy conntrack explain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from conntrack.ahead import AheadSocket
from conntrack.query import EVERYTHING, Query, Seen, look
from conntrack.requests import Selection
from conntrack.story import Named, Renewal, parse_named, renewal
from conntrack.table import Table
from kproxy.cli.conntrack_question import OUTPUT, SOURCE_OPTIONS, Known, filters, known_services, query_of, write
from kproxy.cli.output import emit, heading
from kproxy.cli.verbosity import verbose
from kproxy.errors import ConntrackError
from kproxy.report.connections import (
    CSV_COLUMNS,
    counted,
    csv_row,
    csv_text,
    duration,
    flow_object,
    moment,
    nat,
    place,
    progress,
)
from kproxy.wiring.question import Asked


@click.command()
@click.argument("flow")
@SOURCE_OPTIONS
@filters
@OUTPUT
@verbose
def explain(question: Asked, flow: str, output: str, **given: Any) -> None:  # noqa: ANN401 - what click passes
    """Tell of the flows that FLOW means: their Service, whether the endpoint serves, and what a new one would get.

    FLOW is FROM[:PORT],TO:PORT/PROTO, what the client sent from and to, or the number that `list -o wide` shows as id.
    Conditions narrow that down where it means several. With -o wide its packets, mark, zone and id are told as well.

    \b
    kproxy conntrack explain --source kubernetes 10.244.0.7,10.96.0.10:53/udp
    kproxy conntrack explain -f manifests/ '[fd00::7]:40000,[fd00:96::1]:80/tcp'
    """  # noqa: D301 - click's mark for lines that stay as they are
    named = parse_named(flow)
    known = known_services(question)
    query = query_of(given, known)
    found = _found(named, query, known)
    if not found:
        such = "" if query == EVERYTHING else " that meets the conditions"
        raise ConntrackError(f"there is no flow {flow}{such}; `kproxy conntrack list` shows those that there are")
    if output in ("json", "yaml"):
        emit([_object(seen, again) for seen, again in found], output)
    elif output == "csv":
        write([csv_text(_rows(found))])
    else:
        for seen, again in found:
            _tell(seen, again, known, wide=output == "wide")


def _found(named: Named, query: Query, known: Known) -> list[tuple[Seen, Renewal | None]]:
    selection = Selection(protocol=named.protocol, source=named.source, destination=named.destination)
    with Table(AheadSocket) as table:
        looks = (look(known.services, entry) for entry in table.entries(selection) if named.means(entry))
        flows = [seen for seen in looks if query.wants(seen)]
    return [(seen, None if known.host is None else renewal(seen, known.plans, known.host)) for seen in flows]


def _object(seen: Seen, again: Renewal | None) -> dict[str, object]:
    shown = flow_object(seen)
    if again is not None:
        shown["newConnection"] = {
            "verdict": again.verdict.value,
            "endpoints": again.choices,
            "sameEndpointPossible": again.same_possible,
            "affinitySeconds": again.affinity_s,
            "text": str(again),
        }
    return shown


def _rows(found: list[tuple[Seen, Renewal | None]]) -> Iterator[Sequence[object]]:
    yield *CSV_COLUMNS, "newConnection"
    for seen, again in found:
        yield *csv_row(seen), again


def _tell(seen: Seen, again: Renewal | None, known: Known, *, wide: bool) -> None:
    entry = seen.entry
    client = place(entry.original.source, entry.original.source_port)
    target = place(entry.original.destination, entry.original.destination_port)
    heading(f"{entry.protocol_name} {client} → {target}")
    click.echo(f"  {progress(entry)}, ends in {duration(entry.timeout_s)} unless it goes on; translated: {nat(entry)}")
    click.echo(f"  answered by {place(entry.reply.source, entry.reply.source_port)}")
    if wide:
        click.echo(f"  packets {counted(entry, 'packets')}, bytes {counted(entry, 'bytes')} (sent/answered)")
        click.echo(
            f"  since {moment(entry.start_ns) or '(not kept)'}; mark {entry.mark:#x}, zone {entry.zone}, id {entry.id}"
        )
    if not known.any:
        click.echo("  whose it is, is not known: name manifests with -f, or --source kubernetes")
        return
    if seen.door is None:
        click.echo("  it belongs to no Service")
    else:
        click.echo(f"  it belongs to Service {seen.door.service}, port {seen.door.port or '(unnamed)'}")
        click.echo(f"  STALE: {seen.reason}" if seen.reason else "  its endpoint is serving")
    if again is not None:
        click.echo(f"  {again}")
