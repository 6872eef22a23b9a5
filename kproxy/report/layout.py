"""Rows under headings as plain text: aligned, nothing cut off, nothing that a terminal would obey."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

GAP = "   "


def aligned(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of columns, each as wide as its widest cell; without headings if they are all empty."""
    body = [[printable(cell) for cell in row] for row in rows]
    table = [list(headings), *body] if any(headings) else body
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def printable(text: str) -> str:
    """Text of the cluster's with control characters escaped; line breaks too."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()
