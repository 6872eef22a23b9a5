"""The inotify door: which names in a directory changed, waited for together with a request to stop.

Rules kept: nothing is read here but the kernel's notices; a full queue is told
as a notice without a watch (`overflowed`), never lost. pyroute2's inotify is
not used: it cannot watch a path again that was replaced, fails on a full queue
(watch -1), and on a name that is not UTF-8.
"""

from __future__ import annotations

import ctypes
import enum
import math
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path

from kproxy.core.values import Value
from kproxy.errors import UnsupportedHost


class Mask(enum.IntFlag):
    """Event bits of inotify(7)."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x0100_0000


class Notice(Value, frozen=True):
    """One event: the watch it came by, what happened, and to which name in the directory."""

    watch: int
    mask: Mask
    name: str

    @property
    def overflowed(self) -> bool:
        """Whether notices were lost: anything may have changed."""
        return bool(self.mask & Mask.Q_OVERFLOW)


_HEAD = struct.Struct("=iIII")
_BUFFER_BYTES = 65536
_libc = ctypes.CDLL(None, use_errno=True)


def decode(data: bytes) -> Iterator[Notice]:
    """The notices in what was read (inotify(7), struct inotify_event)."""
    offset = 0
    while offset < len(data):
        watch, mask, _cookie, length = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size
        yield Notice(watch, Mask(mask), os.fsdecode(data[offset : offset + length].rstrip(b"\0")))
        offset += length


class Inotify:
    """An inotify instance and a bell that ends waiting; close it in the end."""

    def __init__(self) -> None:
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            os.close(self._bell)
            reason = os.strerror(ctypes.get_errno())
            raise UnsupportedHost(f"inotify cannot be used: {reason}; raise sysctl fs.inotify.max_user_instances")
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)

    def watch(self, directory: Path, mask: Mask) -> int:
        """Watch a directory; the same number again if it is watched already. OSError if it cannot be."""
        watch: int = _libc.inotify_add_watch(self._fd, os.fsencode(directory), mask | Mask.ONLYDIR)
        if watch < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
        return watch

    def forget(self, watch: int) -> None:
        """Watch no longer; nothing happens if the kernel has forgotten it already."""
        _libc.inotify_rm_watch(self._fd, watch)

    def wait(self, timeout_s: float | None) -> tuple[Notice, ...] | None:
        """The next notices, none after the time-out (None: never), or None once the bell has rung."""
        ready = self._poll.poll(None if timeout_s is None else max(0, math.ceil(timeout_s * 1000)))
        if any(fd == self._bell for fd, _ in ready):
            return None
        return tuple(decode(os.read(self._fd, _BUFFER_BYTES))) if ready else ()

    def ring(self) -> None:
        """End every wait from now on; from any thread."""
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Release both descriptors."""
        os.close(self._fd)
        os.close(self._bell)
