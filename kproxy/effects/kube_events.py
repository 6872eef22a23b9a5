"""Leaves Events at an API server, from a thread of its own; that they are lost harms nobody, so nobody waits for them.

Rules kept: few wait to be sent, and what does not fit is dropped; one that is refused is told once and not sent again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from kproxy.errors import ApiError, KproxyError

WAITING = 100
STOP_S = 0.3
"""How long ending waits for an Event that is being sent."""


class Poster(Protocol):
    """Something to POST to; `kube_client.ApiServer` is one."""

    def post(self, target: str, body: bytes) -> int:
        """Send; the status of the answer. ApiError where no answer comes."""

    def close(self) -> None:
        """Release connections."""


class EventSender:
    """`send` is for any thread and returns at once."""

    def __init__(self, open_server: Callable[[], Poster], complain: Callable[[KproxyError], None]) -> None:
        """The server is opened by the thread, with the first Event."""
        self._open_server = open_server
        self._complain = complain
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="kube-events", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def send(self, path: str, body: bytes) -> None:
        """Have an Event sent, if there is room."""
        try:
            self._waiting.put_nowait((path, body))
        except queue.Full:
            return

    def stop(self) -> None:
        """End; what still waits is dropped."""
        while True:
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                break
        self._waiting.put(None)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        server: Poster | None = None
        while (event := self._waiting.get()) is not None:
            try:
                server = server or self._open_server()
                status = server.post(*event)
                if status not in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.CONFLICT):
                    raise ApiError(f"the server answered {status} to {event[0]}")
            except KproxyError as error:
                self._complain(error)
        if server is not None:
            server.close()
