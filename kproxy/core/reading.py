"""Reads the objects in a list's pages and a stream's lines, and makes one `Replaced` of a whole list."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import ClassVar

import msgspec

from kproxy.core.envelope import Status, Unread, WatchEvent, decode_event, decode_status, gone, object_meta, read_object
from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.model import Applied, Deleted, Event, Kind, KubeObject, Replaced, key_of
from kproxy.core.resource import Resource
from kproxy.core.values import ObjectKey
from kproxy.errors import ApiError, KproxyError

Seen = Applied | Deleted | Unread
Batch = tuple[Seen, ...]


class Phase(enum.Enum):
    """What an answer is."""

    STREAM = "streaming list"
    PAGES = "list"
    WATCH = "watch"


def read_items(
    kind: Kind, raws: Iterable[msgspec.Raw], instance: Instance = DEFAULT
) -> tuple[Batch, tuple[KproxyError, ...]]:
    """The objects of a page, and the errors of those that cannot be read."""
    batch = tuple(read_object(kind, raw, instance) for raw in raws)
    return batch, tuple(seen.error for seen in batch if isinstance(seen, Unread))


def replaced(kind: Kind, batches: Iterable[Batch]) -> Replaced:
    """The whole list; of an object that is seen more than once, the last that could be read counts."""
    items: dict[ObjectKey, KubeObject] = {}
    unread: set[ObjectKey] = set()
    for seen in chain.from_iterable(batches):
        if isinstance(seen, Applied):
            items[key_of(seen.item)] = seen.item
        elif isinstance(seen, Deleted):
            items.pop(seen.key, None)
            unread.discard(seen.key)
        elif seen.key is not None:
            unread.add(seen.key)
    return Replaced(kind, tuple(items.values()), frozenset(unread.difference(items)))


def joined(batches: tuple[Batch, ...], batch: Batch) -> tuple[Batch, ...]:
    """The batches with one more, in few large ones: a long list that comes line by line costs n log n, not n²."""
    kept = len(batches)
    while kept and len(batches[kept - 1]) <= len(batch):
        kept -= 1
        batch = batches[kept] + batch
    return (*batches[:kept], batch) if batch else batches


class Reading:
    """What some lines of one stream say; it lives no longer than those lines."""

    def __init__(self, resource: Resource, phase: Phase, version: str, batches: tuple[Batch, ...]) -> None:
        self.kind = resource.kind
        self.instance = resource.instance
        self.phase = phase
        self.version = version
        self.heard = False
        self.events: list[Event] = []
        self.errors: list[KproxyError] = []
        self._batches = batches
        self._batch: list[Seen] = []

    def take_all(self, lines: Sequence[bytes]) -> Status | None:
        """Take lines up to an ERROR event, whose status is returned; ApiError for a line that is no event."""
        for line in lines:
            event = decode_event(line)
            if event.type == "ERROR":
                return decode_status(event.object)
            self._take(event)
            self.heard = True
        return None

    def pending(self) -> tuple[Batch, ...]:
        """What has been seen of a list that is not complete."""
        return joined(self._batches, tuple(self._batch))

    def _take(self, event: WatchEvent) -> None:
        take = self.TAKERS.get(event.type)
        if take is None:
            raise ApiError(f"the watch sent an event of unknown type {event.type[:40]!r}")
        take(self, event.object)

    def _bookmark(self, raw: msgspec.Raw) -> None:
        meta = object_meta(raw)
        self.version = meta.resource_version or self.version
        if self.phase is Phase.STREAM and meta.ends_initial_events:
            if not self.version:
                raise ApiError("the bookmark that ends the list has no resource version")
            self.events.append(replaced(self.kind, self.pending()))
            self.phase, self._batches, self._batch = Phase.WATCH, (), []

    def _exists(self, raw: msgspec.Raw) -> None:
        seen = read_object(self.kind, raw, self.instance, timed=self.phase is Phase.WATCH)
        if isinstance(seen, Unread):
            self.errors.append(seen.error)
        self._see(seen, raw)

    def _gone(self, raw: msgspec.Raw) -> None:
        self._see(gone(self.kind, raw), raw)

    def _see(self, seen: Seen, raw: msgspec.Raw) -> None:
        if self.phase is Phase.STREAM:
            self._batch.append(seen)
            return
        self.version = object_meta(raw).resource_version or self.version
        if not isinstance(seen, Unread):
            self.events.append(seen)

    TAKERS: ClassVar[dict[str, Callable[[Reading, msgspec.Raw], None]]] = {
        "ADDED": _exists,
        "MODIFIED": _exists,
        "DELETED": _gone,
        "BOOKMARK": _bookmark,
    }
