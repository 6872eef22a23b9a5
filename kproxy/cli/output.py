"""What goes to standard output: objects as JSON or YAML, rows as tables, colours where somebody sees them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from kproxy.report.layout import aligned, printable

F = TypeVar("F", bound=Callable[..., Any])


def output_option(*formats: str) -> Callable[[F], F]:
    """The option -o with these formats; without it a command prints for people."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        help="Print for programs (json, yaml) or more columns (wide)." if "wide" in formats else "Print for programs.",
    )


def emit(value: object, form: str) -> None:
    """Plain data as `json` or `yaml`."""
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        import yaml  # noqa: PLC0415 - only for those who want it

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under headings: fitted to a terminal's width, in full where the output is read by a program."""
    if sys.stdout.isatty():
        _fitted(headings, rows)
    else:
        for line in aligned(headings, rows):
            click.echo(line)


def width() -> float:
    """The columns of the terminal that is written to; without end where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else float("inf")


def _fitted(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold", show_header=any(headings))
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto").print(shown)


def note(text: str) -> None:
    """A remark beside the output, on standard error."""
    for line in text.splitlines():
        click.echo(f"kproxy: {printable(line)}", err=True)


def heading(text: str) -> None:
    """A line that stands out."""
    click.secho(printable(text), bold=True)
