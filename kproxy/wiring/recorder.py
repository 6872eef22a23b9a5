"""Keeps the Events of an agent: at the API server that it follows, or, where it follows none, nowhere."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from kproxy.agent import REMIND_S, Setup
from kproxy.config import Config
from kproxy.effects.kube_events import EventSender, Poster
from kproxy.effects.logs import Recurrence
from kproxy.errors import KproxyError
from kproxy.report.events import Remark, event_post
from kproxy.wiring.question import KUBERNETES, Asked


class Recorder(Protocol):
    """Takes remarks while it is open, from any thread, and never waits."""

    def open(self) -> AbstractContextManager[object]:
        """Begin; end with the block."""

    def record(self, remark: Remark) -> None:
        """Keep a remark."""


class NoRecorder:
    """Without an API server nobody keeps Events; the log has what they say."""

    def open(self) -> AbstractContextManager[object]:
        """Nothing to begin."""
        return nullcontext()

    def record(self, remark: Remark) -> None:
        """Forget it."""


class KubeRecorder:
    """Keeps remarks as Events."""

    def __init__(self, sender: EventSender, node: str) -> None:
        self._sender = sender
        self._node = node

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Send until the end of the block."""
        self._sender.start()
        try:
            yield
        finally:
            self._sender.stop()

    def record(self, remark: Remark) -> None:
        """Send it."""
        post = event_post(remark, self._node, time.time(), secrets.token_hex(8))
        self._sender.send(post.path, post.body)


def event_recorder(asked: Asked, config: Config, setup: Setup) -> Recorder:
    """The recorder for a command line's source."""
    if asked.source != KUBERNETES:
        return NoRecorder()
    said = Recurrence()

    def complain(error: KproxyError) -> None:
        if said.is_due(str(error), time.monotonic(), REMIND_S):
            setup.log.warning("an Event is lost", error=str(error))

    def server() -> Poster:
        from kproxy.effects.kube_client import open_server  # noqa: PLC0415 - the source has imported it

        return open_server(asked.kubeconfig or config.proxy.client_connection.kubeconfig, asked.master)

    return KubeRecorder(EventSender(server, complain), setup.host.node)
