"""What a source has said of each object, so that it need not say the same thing twice.

In a cluster at rest most events are heartbeats: annotations and resource versions that change nothing we use. To hold
them back where they arrive saves waking the thread that folds. Rules kept: what is held back could have changed
nothing in a `fold` of all that went before; objects are shared with the snapshot, so remembering costs a mapping.
"""

from __future__ import annotations

from collections.abc import Sequence

from kproxy.core.model import Deleted, Event, KubeObject, Replaced, key_of
from kproxy.core.values import ObjectKey


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
        key = key_of(event.item)
        if self._items.get(key) == event.item:
            return False
        self._items[key] = event.item
        return True
