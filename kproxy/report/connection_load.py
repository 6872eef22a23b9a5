"""How busy Services are, as rows and lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from conntrack.counters import Limits
from conntrack.load import Load
from kproxy.report.connection_stats import usage_text
from kproxy.report.layout import aligned

HEADINGS = ("SERVICE", "FLOWS", "UNREPLIED", "NEW/S", "BYTES/S")
_UNITS = ("", "k", "M", "G", "T")
_STEP = 1000


def title(limits: Limits, new_per_s: float) -> str:
    """The line above the rows."""
    return f"{usage_text(limits)}, {new_per_s:.1f} new per second"


def row(load: Load) -> tuple[str, ...]:
    """A load in the order of `HEADINGS`."""
    moved = "-" if load.bytes_per_s is None else amount(load.bytes_per_s)
    return load.name, str(load.flows), str(load.unreplied), f"{load.new_per_s:.1f}", moved


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
        yield from (f"{text}\n" for text in aligned(HEADINGS, [row(load) for load in loads]))
        yield "\n"
    elif form == "csv":
        if first:
            yield "service,flows,unreplied,newPerSecond,bytesPerSecond\n"
        for load in loads:
            moved = "" if load.bytes_per_s is None else f"{load.bytes_per_s:.0f}"
            yield f"{load.name},{load.flows},{load.unreplied},{load.new_per_s:.1f},{moved}\n"
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
    }
