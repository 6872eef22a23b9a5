"""`kproxy conntrack watch`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from conntrack.events import Event, Events, Kind
from conntrack.query import Seen, look
from kproxy.cli.conntrack_question import OUTPUT, SOURCE_OPTIONS, filters, known_services, query_of
from kproxy.cli.output import note
from kproxy.cli.verbosity import verbose
from kproxy.report.connections import CSV_COLUMNS, flow_object, header, line
from kproxy.wiring.question import Asked

WIDTH = max(map(len, Kind)) + 1


@click.command()
@SOURCE_OPTIONS
@filters
@click.option(
    "--event", "kinds", multiple=True, type=click.Choice([kind.value for kind in Kind]), help="Only these. Repeatable."
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@OUTPUT
@verbose
def watch(
    question: Asked,
    kinds: Sequence[str],
    count: int | None,
    output: str,
    **given: Any,  # noqa: ANN401 - click's
) -> None:
    """Follow flows as they begin (new), change (update) and end (destroy), until interrupted.

    With -o json each line is an object; with -o yaml each is a document's item.

    \b
    kproxy conntrack watch --protocol udp --event new
    kproxy conntrack watch --source kubernetes --service shop/cart -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    known = known_services(question)
    query = query_of(given, known)
    with Events([Kind(kind) for kind in kinds] or Kind) as events:
        _write(_heading(output))
        left, losses = count, 0
        while left is None or left > 0:
            happened = events.next()
            wanted = [(event, seen) for event in happened if query.wants(seen := look(known.services, event.entry))]
            for event, seen in wanted[:left]:
                _write(_text(output, event, seen))
            left = None if left is None else left - len(wanted)
            if events.losses > losses:
                losses = events.losses
                note("events came faster than they could be read, and some are lost")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _heading(output: str) -> str:
    if output == "csv":
        return ",".join(("event", *CSV_COLUMNS)) + "\n"
    return "EVENT".ljust(WIDTH) + header(output) if header(output) else ""


def _text(output: str, event: Event, seen: Seen) -> str:
    if output in ("json", "yaml"):
        text = msgspec.json.encode({"event": event.kind.value, **flow_object(seen)}).decode()
        return f"{text}\n" if output == "json" else f"- {text}\n"
    return f"{event.kind},{line(output, seen)}" if output == "csv" else event.kind.ljust(WIDTH) + line(output, seen)
