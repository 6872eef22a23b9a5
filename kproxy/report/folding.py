"""Rows under headings on a terminal: folded between words to its width, or listed where no table fits."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from kproxy.core.values import Value
from kproxy.report.layout import GAP, printable


class Fit(Value, frozen=True):
    """How wide columns are, and what stands between them."""

    widths: tuple[int, ...]
    gap: int


def fit(headings: Sequence[str], rows: Iterable[Sequence[str]], room: int) -> Fit | None:
    """Widths with which no word is torn, and the table no wider than `room`; None if that cannot be.

    What room there is beyond that goes to the column that lacks most.
    """
    columns = list(zip(headings, *([printable(cell) for cell in row] for row in rows), strict=True))
    widths = [max(max(map(len, cell.split()), default=0) for cell in column) for column in columns]
    wanted = [max(map(len, column)) for column in columns]
    gaps = max(len(columns) - 1, 1)
    gap = min((room - sum(widths)) // gaps, len(GAP))
    if gap < 1:
        return None
    for _ in range(min(room - gap * gaps, sum(wanted)) - sum(widths)):
        lacking = max(range(len(widths)), key=lambda index: wanted[index] - widths[index])
        widths[lacking] += 1
    return Fit(tuple(widths), gap)


def folded(headings: Sequence[str], rows: Iterable[Sequence[str]], fitted: Fit) -> Iterator[str]:
    """Lines of columns of these widths, a cell that is longer going on in the next line."""
    for row in (headings, *rows) if any(headings) else rows:
        cells = [
            textwrap.wrap(printable(cell), width, break_on_hyphens=False) if cell else []
            for cell, width in zip(row, fitted.widths, strict=True)
        ]
        for number in range(max(map(len, cells))):
            parts = (cell[number] if number < len(cell) else "" for cell in cells)
            padded = (part.ljust(width) for part, width in zip(parts, fitted.widths, strict=True))
            yield (" " * fitted.gap).join(padded).rstrip()


def listed(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A row as a line for each cell that says something, for where no table fits; the headings if there is no row."""
    rows = list(rows)
    if not rows and any(headings):
        yield " ".join(headings)
    indent = max(map(len, headings))
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, cell in zip(headings, row, strict=True):
            if cell:
                yield f"{name.ljust(indent)} {printable(cell)}".lstrip()
