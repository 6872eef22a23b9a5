"""A KubernetesSource that is followed: what it delivers is folded and awaited, never slept for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.model import Event, Kind
from kproxy.core.snapshot import Snapshot, fold
from kproxy.effects.kube import Clock, KubernetesSource
from kproxy.effects.kube_client import open_server
from tests.fakes.apiserver import ApiServer

PATIENCE_S = 20.0
NODE = "node-a"


class FastClock(Clock):
    """Steady time that runs faster, so that back-off is waited for in earnest but not for long."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def now(self) -> float:
        return super().now() * self._speed

    def wait_until(self, moment: float) -> bool:
        return not self._stopped.wait(max(moment - self.now(), 0.0) / self._speed)


class Following:
    """As a context: started on entry, stopped on exit."""

    def __init__(
        self,
        server: ApiServer,
        directory: Path,
        token: str = "",
        ca: str = "",
        speed: float = 50.0,
        instance: Instance = DEFAULT,
    ) -> None:
        self.kubeconfig = directory / "kubeconfig"
        self.write_kubeconfig(server, token, ca)
        self.began: list[str] = []
        """The kinds of the watches that were begun again."""
        self.source = KubernetesSource(
            open_server(str(self.kubeconfig)), NODE, clock=FastClock(speed), began=self.began.append, instance=instance
        )
        self.snapshot = Snapshot()
        self.events: list[Event] = []
        self.errors: list[Exception] = []
        self._news = threading.Condition()

    def write_kubeconfig(self, server: ApiServer, token: str = "", ca: str = "") -> None:
        self.kubeconfig.write_text(json.dumps(server.kubeconfig(token, ca)))

    def __enter__(self) -> Self:
        self.source.start(self._put, self._fail)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> float:
        """How many seconds it took."""
        start = time.monotonic()
        self.source.stop()
        return time.monotonic() - start

    def await_that(self, holds: Callable[[], object]) -> None:
        with self._news:
            if not self._news.wait_for(holds, PATIENCE_S):
                raise AssertionError(f"it did not come to hold; errors: {self.errors[-5:]}")

    def await_services(self, *names: str) -> None:
        self.await_that(lambda: self.names() == set(names))

    def await_complete(self) -> None:
        self.await_that(lambda: self.snapshot.complete == set(Kind))

    def names(self) -> set[str]:
        return {key.name for key in self.snapshot.services}

    def failed(self, error: type[Exception]) -> bool:
        return any(isinstance(found, error) for found in self.errors)

    def _put(self, events: Sequence[Event]) -> None:
        with self._news:
            self.events.extend(events)
            self.snapshot = fold(self.snapshot, events)
            self._news.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._news:
            self.errors.append(error)
            self._news.notify_all()
