"""Receives dumps in a child process, so that the kernel's work and the decoding take place at the same time.

Of a dump's time half is the kernel's: it fills one buffer per system call. A
thread would do, but for Python's lock. The child does nothing but receive and
hand on through a pipe, each buffer after its length; it is for programs
without other threads, that is for commands.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from kproxy.effects.netlink import NetlinkSocket

PIPE_BYTES: Final = 1 << 20
"""What the child may be ahead; an unprivileged user's limit, too (pipe-max-size)."""

_LENGTH = struct.Struct("=i")
_LOST: Final = errno.EIO
"""The child has ended without a word."""


class AheadSocket(NetlinkSocket):
    """A netlink socket whose raw dumps come by way of a child process."""

    def dump_buffers(self, kind: int, payload: bytes) -> Iterator[bytes]:
        """As NetlinkSocket's; the child is gone when the last buffer is there, or nobody wants more."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        child = os.fork()
        if child == 0:
            os.close(reader)
            _hand_on(writer, lambda: NetlinkSocket().dump_buffers(kind, payload))
        os.close(writer)
        try:
            yield from _received(reader)
        finally:
            os.waitpid(child, 0)


def _received(reader: int) -> Iterator[bytes]:
    with open(reader, "rb", buffering=PIPE_BYTES) as pipe:
        while True:
            head = pipe.read(_LENGTH.size)
            (length,) = _LENGTH.unpack(head) if len(head) == _LENGTH.size else (-_LOST,)
            if length == 0:
                return
            if length < 0:
                raise OSError(-length, os.strerror(-length))
            buffer = pipe.read(length)
            if len(buffer) < length:
                raise OSError(_LOST, os.strerror(_LOST))
            yield buffer


def _hand_on(writer: int, buffers: Callable[[], Iterator[bytes]]) -> NoReturn:
    """The child's life: buffers into the pipe, 0 at the end, a negative errno where there was an error."""
    last = 0
    try:
        for buffer in buffers():
            _write(writer, _LENGTH.pack(len(buffer)) + buffer)
    except OSError as error:
        last = -(error.errno or _LOST)
    try:
        _write(writer, _LENGTH.pack(last))
    finally:
        os._exit(0)


def _write(writer: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(writer, view) :]
