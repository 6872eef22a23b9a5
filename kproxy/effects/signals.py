"""Hears of signals in a thread of its own, so that none is missed by a main thread that waits.

Python runs a signal's handler in the main thread, between two instructions. One that comes after the last of these and
before the kernel begins to wait, or that the kernel gives to another thread, ends no wait: its handler would run when
something else does. What Python's part in C writes down at once is read here (`signal.set_wakeup_fd`).
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def signals_told(tell: Callable[[], None]) -> Iterator[None]:
    """Within the block `tell` is called after every signal that has a handler; it must end the main thread's wait.

    For the main thread, with one block at a time.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def listen() -> None:
        while reader.recv(64):
            tell()

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        thread.join()
        reader.close()
