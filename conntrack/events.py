"""The stream of events: flows that begin, change and end, as the kernel multicasts them.

A reader that is too slow loses events; the kernel says so (ENOBUFS), and so
does `Events.next`, instead of ending.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self

from conntrack import layout
from conntrack.entry import FIELDS, Entry, entry_of
from conntrack.table import refuse
from conntrack.wire import Reader, split
from kproxy.core.values import Value
from kproxy.effects.netlink import NetlinkSocket
from kproxy.errors import ConntrackError
from kproxy.netlink.attributes import Malformed
from kproxy.netlink.messages import HEADER, NLM_F_CREATE


class Kind(enum.StrEnum):
    """What happened to a flow."""

    NEW = "new"
    UPDATE = "update"
    DESTROY = "destroy"


_GROUPS = {
    Kind.NEW: layout.GROUP_NEW,
    Kind.UPDATE: layout.GROUP_UPDATE,
    Kind.DESTROY: layout.GROUP_DESTROY,
}


class Event(Value, frozen=True):
    """Something that happened to a flow, and the flow after it."""

    kind: Kind
    entry: Entry


def read_events(reader: Reader, messages: Iterable[bytes]) -> Iterator[Event]:
    """The events in these messages, in their order. `reader` is one of `entry.FIELDS`."""
    for message in messages:
        row = reader.row(message)
        if row is not None:
            yield Event(_kind(message), entry_of(row))


def _kind(message: bytes) -> Kind:
    _, kind, flags, _, _ = HEADER.unpack_from(message)
    if kind & 0xFF == layout.DELETE:
        return Kind.DESTROY
    return Kind.NEW if flags & NLM_F_CREATE else Kind.UPDATE


class Socket(Protocol):
    """What is asked of a netlink socket that receives events; `NetlinkSocket` is one."""

    def join(self, group: int) -> None:
        """Receive the events of a group."""

    def events(self, timeout_s: float | None) -> bytes | None:
        """The next buffer, None if there is none in time."""

    def close(self) -> None:
        """Release it."""


class Events:
    """A subscription to events of the network namespace that the calling thread is in."""

    def __init__(self, kinds: Iterable[Kind] = Kind, socket: Socket | None = None) -> None:
        self.reader = Reader(FIELDS)
        self.losses = 0
        """How often the kernel had to drop events because they were not read in time."""
        try:
            self._socket = NetlinkSocket() if socket is None else socket
            for kind in kinds:
                self._socket.join(_GROUPS[kind])
        except OSError as error:
            refuse(error, "watched")

    def next(self, timeout_s: float | None = None) -> list[Event]:
        """What happened next; empty when nothing did within `timeout_s` seconds, or when events were lost."""
        try:
            buffer = self._socket.events(timeout_s)
            return [] if buffer is None else list(read_events(self.reader, split(buffer).flows))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                refuse(error, "watched")
            self.losses += 1
            return []
        except Malformed as error:
            raise ConntrackError(f"An event could not be read: {error}.") from error

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
