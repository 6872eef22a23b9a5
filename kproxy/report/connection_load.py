"""How busy Services are, as rows and lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from conntrack.counters import Limits
from conntrack.load import Load
from kproxy.report.connection_stats import usage_text
from kproxy.report.connections import csv_text
from kproxy.report.layout import aligned

_HEADINGS = ("SERVICE", "FLOWS", "UNREPLIED", "NEW/S", "BYTES/S")
_WIDE = (*_HEADINGS, "STALE")
CSV_COLUMNS = ("service", "flows", "unreplied", "newPerSecond", "bytesPerSecond", "stale")
"""In the order of `load_object`."""
_UNITS = ("", "k", "M", "G", "T")
_STEP = 1000


def title(limits: Limits, new_per_s: float) -> str:
    """The line above the rows."""
    return f"{usage_text(limits)}, {new_per_s:.1f} new per second"


def headings(form: str) -> Sequence[str]:
    """What the columns of `table` or `wide` are called."""
    return _WIDE if form == "wide" else _HEADINGS


def row(load: Load, form: str = "table") -> tuple[str, ...]:
    """A load in the order of `headings`."""
    moved = "-" if load.bytes_per_s is None else amount(load.bytes_per_s)
    cells = load.name, str(load.flows), str(load.unreplied), f"{load.new_per_s:.1f}", moved, str(load.stale)
    return cells[: len(headings(form))]


def amount(number: float) -> str:
    """`950`, `1.5k`, `20.0M`."""
    for unit in _UNITS[:-1]:
        if number < _STEP:
            return f"{number:.1f}{unit}" if unit else f"{number:.0f}"
        number /= _STEP
    return f"{number:.1f}{_UNITS[-1]}"


def lines(form: str, loads: Sequence[Load], heading: str, *, first: bool) -> Iterator[str]:
    """One look as text: a table with its title, or one object or row per load."""
    if form in ("table", "wide"):
        yield f"{heading}\n"
        yield from (f"{text}\n" for text in aligned(headings(form), [row(load, form) for load in loads]))
        yield "\n"
    elif form == "csv":
        if first:
            yield csv_text([CSV_COLUMNS])
        yield csv_text(load_object(load).values() for load in loads)
    else:
        for load in loads:
            text = json.dumps(load_object(load))
            yield f"- {text}\n" if form == "yaml" else f"{text}\n"


def load_object(load: Load) -> dict[str, object]:
    """A load as plain data."""
    return {
        "service": load.name,
        "flows": load.flows,
        "unreplied": load.unreplied,
        "newPerSecond": round(load.new_per_s, 1),
        "bytesPerSecond": None if load.bytes_per_s is None else round(load.bytes_per_s),
        "stale": load.stale,
    }
