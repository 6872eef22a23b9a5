"""`kproxy conntrack list`."""

from __future__ import annotations

from typing import Any

import click

from conntrack.ahead import AheadSocket
from conntrack.table import Table
from kproxy.cli.conntrack_question import OUTPUT, SOURCE_OPTIONS, filters, flows, known_services, query_of, write
from kproxy.cli.verbosity import verbose
from kproxy.report.connections import lines
from kproxy.wiring.question import Asked


@click.command("list")
@SOURCE_OPTIONS
@filters
@OUTPUT
@verbose
def list_flows(question: Asked, output: str, **given: Any) -> None:  # noqa: ANN401 - what click passes
    """List flows, each with its client, what it was sent to, what answers, and the Service that it belongs to.

    Flows are printed as they are read, whatever their number.

    \b
    kproxy conntrack list --protocol udp --state unreplied
    kproxy conntrack list -f manifests/ --service shop/cart -o wide
    kproxy conntrack list --source kubernetes --stale -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    known = known_services(question)
    query = query_of(given, known)
    with Table(AheadSocket) as table:
        write(lines(output, flows(table, query, known.services)))
