"""What a change would do: its size, and its lines marked by what they are."""

from __future__ import annotations

import enum
from collections.abc import Iterator

from kproxy.core.document import Change

NAMED = 3
"""How many Services are named."""


class Mark(enum.Enum):
    """What a line of a rendered change is."""

    ADDED = "+"
    REMOVED = "-"
    CONTEXT = " "


def marked(rendered: str) -> Iterator[tuple[Mark, str]]:
    """The lines of `Backend.render_change`, each with what it is."""
    marks = {"+": Mark.ADDED, "-": Mark.REMOVED}
    for line in rendered.splitlines():
        yield marks.get(line[:1], Mark.CONTEXT), line


def summary(change: Change) -> str:
    """`12 added, 1 changed, 3 removed`, of whatever objects the backend has."""
    return f"{len(change.added)} added, {len(change.changed)} changed, {len(change.removed)} removed"


def services_of(change: Change) -> str:
    """The Services that a change is for, a few of them by name: `shop/cart, shop/web and 12 more`."""
    named = sorted(owner for owner in change.owners if "/" in owner)
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return ", ".join(named[:NAMED]) + more
