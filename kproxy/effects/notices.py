"""The door to what the kernel tells unasked of rules, links and addresses, in the opening thread's network namespace.

What may be about us is handed on as a `Touch`; where notifications were lost, that is said instead. Bytes that make no
sense count as lost ones.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from kproxy.core.values import Family
from kproxy.effects.netlink import NetlinkSocket
from kproxy.errors import KernelError, ObserveFailed
from kproxy.netlink.attributes import Malformed
from kproxy.netlink.notices import (
    ROUTE_GROUPS,
    RULES_GROUP,
    Interest,
    Touch,
    described,
    read_links,
    read_rules,
)

ROUTE = 0
READ_S = 1.0
"""How long to wait for what poll(2) has announced."""


class Notices:
    """Tells touches from a thread of its own."""

    def __init__(self, interests: Sequence[Interest]) -> None:
        """What comes from now on is told; ObserveFailed if the kernel cannot be listened to."""
        self._interests = interests
        self._pending: frozenset[Family] = frozenset()
        self._thread: threading.Thread | None = None
        with ExitStack() as stack:
            try:
                self._rules = _listening(stack, interests)
                self._links = _listening_to_links(stack) if any(one.link for one in interests) else None
            except OSError as error:
                raise ObserveFailed(f"the kernel's notifications cannot be had: {error}") from error
            self._wake_read, self._wake_write = os.pipe()
            self._sockets = stack.pop_all()

    def start(self, tell: Callable[[Touch], None], fail: Callable[[KernelError], None]) -> None:
        """Begin; `tell` and `fail` are called in the thread and must return at once.

        Lost notifications are a touch of each family; after `fail` nothing is told any more.
        """
        self._thread = threading.Thread(target=self._listen, args=(tell, fail), name="notices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the sockets."""
        os.close(self._wake_write)
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake_read)
        self._sockets.close()

    def _listen(self, tell: Callable[[Touch], None], fail: Callable[[KernelError], None]) -> None:
        poll = select.poll()
        for source in (self._rules, self._links):
            if source is not None:
                poll.register(source, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN | select.POLLHUP)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake_read in ready:
                return
            try:
                for touch in self._heard(ready):
                    tell(touch)
            except OSError as error:
                fail(ObserveFailed(f"the kernel's notifications are heard no more, it is polled: {error}"))
                return

    def _heard(self, ready: set[int]) -> Iterator[Touch]:
        """The touches in what the sockets that are ready hold."""
        for source, read in ((self._rules, self._read_rules), (self._links, self._read_links)):
            if source is None or source.fileno() not in ready:
                continue
            try:
                buffer = source.events(READ_S)
                yield from read(buffer) if buffer else ()
            except Malformed:
                yield from self._lost()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield from self._lost()

    def _lost(self) -> Iterator[Touch]:
        self._pending = frozenset()
        yield from (Touch(one.family) for one in self._interests)

    def _read_rules(self, buffer: bytes) -> Iterable[Touch]:
        self._pending, touches = read_rules(self._pending, buffer, self._interests)
        return touches

    def _read_links(self, buffer: bytes) -> Iterable[Touch]:
        numbers = {}
        for link in {one.link for one in self._interests if one.link}:
            with suppress(OSError):
                numbers[link] = socket.if_nametoindex(link)
        for touch in read_links(buffer, numbers, self._interests):
            yield msgspec.structs.replace(touch, by=_process(touch.port)) if touch.port else touch


def _listening(stack: ExitStack, interests: Sequence[Interest]) -> NetlinkSocket | None:
    """A socket that hears of nf_tables; None where nobody asks for it."""
    if not any(one.tables for one in interests):
        return None
    source = stack.enter_context(NetlinkSocket())
    source.join(RULES_GROUP)
    source.ignore(frozenset().union(*(one.ports for one in interests)))
    return source


def _listening_to_links(stack: ExitStack) -> NetlinkSocket:
    source = stack.enter_context(NetlinkSocket(ROUTE))
    for group in ROUTE_GROUPS:
        source.join(group)
    return source


def _process(port: int) -> str:
    """Who has a netlink port, which is the process id of most programs; empty if it has ended or is none."""
    with suppress(OSError, ValueError):
        return described(Path(f"/proc/{port}/comm").read_text(encoding="ascii").strip(), port)
    return ""
