"""What goes to standard output: objects as JSON or YAML, rows as tables, colours where somebody sees them."""

from __future__ import annotations

import json
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
    """Rows under headings: fitted to a terminal without tearing words apart, in full where a program reads."""
    if not sys.stdout.isatty():
        for line in aligned(headings, rows):
            click.echo(line)
        return
    from kproxy.report.folding import fit, folded, listed  # noqa: PLC0415 - only where there is a terminal

    rows = list(rows)
    fitted = fit(headings, rows, int(width()))
    for number, line in enumerate(folded(headings, rows, fitted) if fitted else listed(headings, rows)):
        click.secho(line, bold=not number and any(headings))


def width() -> float:
    """The columns of the terminal that is written to; without end where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else float("inf")


def note(text: str) -> None:
    """A remark beside the output, on standard error."""
    for line in text.splitlines():
        click.echo(f"kproxy: {printable(line)}", err=True)


def heading(text: str) -> None:
    """A line that stands out."""
    click.secho(printable(text), bold=True)
