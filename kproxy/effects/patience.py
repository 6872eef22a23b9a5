"""Tells whoever waits at a terminal that something takes long, and what; what ends soon is done in silence."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Final, TextIO

QUIET_S: Final = 2.0


@contextlib.contextmanager
def told_when_long(what: str, stream: TextIO | None = None, quiet_s: float = QUIET_S) -> Iterator[threading.Event]:
    """Within the block: one line on standard error after `quiet_s`, if that is a terminal; the event is set then."""
    stream = stream or sys.stderr
    over, told = threading.Event(), threading.Event()

    def tell() -> None:
        if not over.wait(quiet_s):
            with contextlib.suppress(OSError, ValueError):  # whoever listened has gone
                stream.write(f"kproxy: {what}, which takes a while …\n")
                stream.flush()
            told.set()

    if not stream.isatty():
        yield told
        return
    thread = threading.Thread(target=tell, name="patience", daemon=True)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()
