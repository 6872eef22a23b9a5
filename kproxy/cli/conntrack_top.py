"""`kproxy conntrack top`."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import time
import tty
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from conntrack.events import Events, Kind
from conntrack.load import SORTS, Load, Sample, loads, name_of
from conntrack.query import Query
from conntrack.services import Services
from conntrack.table import Table
from kproxy.cli.conntrack_question import OUTPUT, SOURCE_OPTIONS, filters, known_services, query_of, write
from kproxy.cli.options import FiniteRange
from kproxy.cli.output import note
from kproxy.cli.verbosity import verbose
from kproxy.report.connection_load import headings, lines, row, title
from kproxy.wiring.question import Asked

if TYPE_CHECKING:
    from rich.console import Group

QUIT = "q"
QUIT_LOOKS_S = 0.2


@click.command()
@SOURCE_OPTIONS
@filters
@click.option("--sort", type=click.Choice(list(SORTS)), default="flows", show_default=True, help="What comes first.")
@click.option("--interval", type=FiniteRange(min=0.1), default=2.0, show_default=True, help="Seconds per look.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many looks.")
@click.option("--rows", type=click.IntRange(min=1), default=20, show_default=True, help="Rows per look.")
@OUTPUT
@verbose
def top(
    question: Asked,
    sort: str,
    interval: float,
    count: int | None,
    rows: int,
    output: str,
    **given: Any,  # noqa: ANN401 - what click passes
) -> None:
    """Show the busiest Services live: flows, new ones per second, and bytes where the kernel counts them. q quits.

    Where the output is no terminal, or -o is json, yaml or csv, each look is printed as lines. With -o wide those
    that no serving endpoint answers are counted, too. --state does not narrow NEW/S: all flows begin alike.

    \b
    kproxy conntrack top --source kubernetes
    kproxy conntrack top --sort new --interval 1
    """  # noqa: D301 - click's mark for lines that stay as they are
    known = known_services(question)
    wanted = Wanted(known.services, query_of(given, known))
    with Table() as table, Events([Kind.NEW]) as events:
        looks = _looks(table, events, wanted, (sort, interval, count, rows))
        if output in ("table", "wide") and sys.stdout.isatty() and sys.stdin.isatty():
            _live(looks, output)
        else:
            for number, (shown, heading) in enumerate(looks):
                write(lines(output, shown, heading, first=number == 0))


Look = tuple[Sequence[Load], str]
"""The loads of one interval, and the line above them."""


class Wanted(NamedTuple):
    """The Services that are known, and which flows are meant."""

    services: Services
    query: Query


def _looks(table: Table, events: Events, wanted: Wanted, how: tuple[str, float, int | None, int]) -> Iterator[Look]:
    """A look at the end of every interval; between them the flows that begin are counted."""
    sort, interval, count, rows = how
    before, started = _sample(table, wanted), time.monotonic()
    number = 0
    while count is None or number < count:
        begun: Counter[str] = Counter()
        while (left := started + interval - time.monotonic()) > 0:
            names = (name_of(*wanted, event.entry) for event in events.next(min(left, QUIT_LOOKS_S)))
            begun.update(name for name in names if name is not None)
            if _wants_to_quit():
                return
        now, seconds = _sample(table, wanted), time.monotonic() - started
        yield loads(before, now, begun, seconds, sort)[:rows], title(table.limits(), begun.total() / seconds)
        before, started, number = now, time.monotonic(), number + 1
        if events.losses:
            note("flows begin faster than they can be counted")
            events.losses = 0


def _sample(table: Table, wanted: Wanted) -> Sample:
    def take(batches: Iterator[list[bytes]]) -> Sample:
        sample = Sample(*wanted)
        for batch in batches:
            sample.add(batch)
        return sample

    return table.whole(take, wanted.query.selection())


def _wants_to_quit() -> bool:
    if not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0)[0]:
        return False
    return sys.stdin.read(1).lower() == QUIT


def _live(looks: Iterator[Look], output: str) -> None:
    from rich.live import Live  # noqa: PLC0415 - only where there is a terminal

    with _keys_at_once(), Live(screen=True, auto_refresh=False) as screen:
        for shown, heading in looks:
            screen.update(_picture(shown, heading, output), refresh=True)


def _picture(shown: Sequence[Load], heading: str, output: str) -> Group:
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table as Picture  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    picture = Picture(box=None, header_style="bold")
    for number, name in enumerate(headings(output)):
        picture.add_column(name, justify="right" if number else "left")
    for load in shown:
        picture.add_row(*(Text(cell) for cell in row(load, output)))
    return Group(Text(f"{heading}   (q quits)", style="bold"), picture)


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """A terminal that gives each key as it is pressed; as it was before, afterwards."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
