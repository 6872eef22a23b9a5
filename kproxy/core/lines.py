"""Cuts a stream of bytes into lines, in time linear in its length however long a line is.

A watch sends one JSON event per line; pieces arrive as the network likes them.
"""

from __future__ import annotations

from kproxy.errors import ApiError

LINE_LIMIT_BYTES = 32 * 1024 * 1024
"""No event of an API server comes near this: etcd takes 1.5 MiB per object."""


class LineSplitter:
    """Remembers the piece of a line that has not ended yet; a stream that ends there has been cut."""

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._pieces: list[bytes] = []
        self._pending_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """How much of an unfinished line is held."""
        return self._pending_bytes

    def feed(self, chunk: bytes) -> tuple[bytes, ...]:
        """The lines that this chunk completes, without their ends and without empty ones; ApiError for one too long."""
        *ended, rest = chunk.split(b"\n")
        if ended:
            ended[0] = b"".join((*self._pieces, ended[0]))
            self._pieces, self._pending_bytes = [], 0
        if rest:
            self._pieces.append(rest)
            self._pending_bytes += len(rest)
        if self._pending_bytes > self._limit_bytes:
            message = f"a line of the answer is longer than {self._limit_bytes} bytes"
            raise ApiError(message)
        return tuple(line for line in ended if line and not line.isspace())
