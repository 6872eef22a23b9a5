"""What a change would do: its size, and its lines marked by what they are."""

from __future__ import annotations

import enum
from collections.abc import Iterator

from kproxy.core.document import Change


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
    """`12 objects added, 1 changed, 3 removed, for 4 Services`."""
    services = sum("/" in owner for owner in change.owners)
    counts = f"{len(change.added)} added, {len(change.changed)} changed, {len(change.removed)} removed"
    return f"{counts}, for {services} Service{'s' * (services != 1)}"
