"""`kproxy conntrack flush`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from conntrack.ahead import AheadSocket
from conntrack.query import EVERYTHING, Seen
from conntrack.table import Table
from kproxy.cli.conntrack_question import OUTPUT, SOURCE_OPTIONS, filters, flows, known_services, query_of, write
from kproxy.cli.output import note
from kproxy.cli.verbosity import verbose
from kproxy.errors import ConntrackError
from kproxy.report.connections import lines
from kproxy.wiring.question import Asked

DONE, FAILED = 0, 1


@click.command()
@SOURCE_OPTIONS
@filters
@click.option("--yes", is_flag=True, help="Delete what is shown.")
@click.option("--dry-run", is_flag=True, help="Only show it, whatever else is asked.")
@OUTPUT
@verbose
def flush(question: Asked, output: str, *, yes: bool, dry_run: bool, **given: Any) -> int:  # noqa: ANN401 - click's
    """Delete flows: show which, and delete them with --yes. Clients' next packets begin anew.

    Each flow is deleted by its own identity; one that took its place meanwhile stays.

    \b
    kproxy conntrack flush --source kubernetes --stale
    kproxy conntrack flush --source kubernetes --stale --yes
    kproxy conntrack flush --endpoint 10.244.1.7 --protocol udp --yes
    """  # noqa: D301 - click's mark for lines that stay as they are
    known = known_services(question)
    query = query_of(given, known)
    if query == EVERYTHING:
        raise click.UsageError("say which flows: --stale, --service, --endpoint, --client, --protocol, --state, --nat")
    with Table(AheadSocket) as table:
        chosen = list(flows(table, query, known.services))
        write(lines(output, chosen))
        if not yes or dry_run:
            note(f"{len(chosen)} flows would be deleted" + ("" if dry_run else ": add --yes to do it"))
            return DONE
        return _delete(table, chosen)


def _delete(table: Table, chosen: Iterable[Seen]) -> int:
    deleted = gone = 0
    problems: list[ConntrackError] = []
    for seen in chosen:
        try:
            if table.delete(seen.entry):
                deleted += 1
            else:
                gone += 1
        except ConntrackError as error:
            problems.append(error)
    note(f"{deleted} flows deleted" + (f", {gone} were gone already" if gone else ""))
    if problems:
        note(f"{len(problems)} could not be deleted: {problems[0]}")
    return FAILED if problems else DONE
