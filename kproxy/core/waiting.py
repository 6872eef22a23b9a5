"""Whether a first sync has to wait: rules stand, and what their objects now are was never known."""

from __future__ import annotations

from kproxy.core.document import Document
from kproxy.core.model import Flaws
from kproxy.core.values import Value


class Waiting(Value, frozen=True):
    """Why nothing is programmed, though rules of ours stand; each fault with its place."""

    faults: tuple[str, ...]

    def __str__(self) -> str:
        return f"the rules of before stay in force until this is mended: {'; '.join(self.faults)}"


def waits_for(flaws: Flaws, stands: Document) -> Waiting | None:
    """Why a first sync has to leave alone what `stands`; None if it may go on.

    To program part of a source would take the rest's rules away. On a kernel with no rules of ours there is nothing to
    lose, and the part that is known is better than nothing.
    """
    return Waiting(flaws.unknown) if flaws.unknown and any(stands.values()) else None
