"""What a source has said of each object, so that it need not say the same thing twice, and when it may rest.

In a cluster at rest most events are heartbeats: annotations and resource versions that change nothing we use. To hold
them back where they arrive saves waking the thread that folds. Rules kept: what is held back could have changed
nothing in a `fold` of all that went before; objects are shared with the snapshot, so remembering costs a mapping.
"""

from __future__ import annotations

from collections.abc import Sequence

from kproxy.core.model import Deleted, Event, Flaws, KubeObject, Replaced, key_of
from kproxy.core.values import ObjectKey

REST_S = 0.025
"""How long what comes is left to gather: most of the cost of an event is waking up for it alone."""
OFTEN_S = 0.05
"""Only if nothing new was heard so shortly before: a change behind a lone heartbeat does not wait."""


class Known:
    """The objects of one kind as last told; whoever uses it hands on all events that it lets through, in order."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._items: dict[ObjectKey, KubeObject] = {}

    def news(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """The events without those that apply an object as it already stands."""
        return tuple(event for event in events if self._is_news(event))

    def _is_news(self, event: Event) -> bool:
        if isinstance(event, Replaced):
            self._items = {key_of(item): item for item in event.items}
            return True
        if isinstance(event, Deleted):
            self._items.pop(event.key, None)
            return True
        if isinstance(event, Flaws):
            return True
        key = key_of(event.item)
        if self._items.get(key) == event.item:
            return False
        self._items[key] = event.item
        return True


class Rest:
    """How a source paces its reading: at once, but for streams in which little is news."""

    def __init__(self) -> None:
        """Nothing has been read."""
        self._read_at = float("-inf")

    def after_nothing(self, now: float) -> float:
        """When to read on after a read that brought no news; times are of one steady clock."""
        often = now - self._read_at < OFTEN_S
        self._read_at = now
        return now + REST_S if often else now
