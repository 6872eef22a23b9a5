"""Events from an API server: one thread per kind of object drives a reflector over a connection.

All that is decided is decided by `core.reflector`; here is only waiting,
asking, reading and handing on.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlencode

from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.known import Known, Rest
from kproxy.core.lines import LineSplitter
from kproxy.core.model import Event, Kind
from kproxy.core.reading import Phase
from kproxy.core.reflector import advance, begin
from kproxy.core.reflector_state import Ask, Body, Broken, Ended, Happening, Lines, Refused
from kproxy.core.resource import Resource, resources
from kproxy.errors import ApiError

STOP_S = 1.5
"""How long `stop` waits for the threads; one that is still connecting delivers nothing and ends by itself."""
RESTART_S = 30.0
"""How long a thread rests after an error that nobody foresaw."""

Put = Callable[[Sequence[Event]], None]
Fail = Callable[[Exception], None]


class Answer(Protocol):
    """A response whose body has not been read; `kube_client.Answer` is one."""

    @property
    def status(self) -> int:
        """The HTTP status code."""

    @property
    def retry_after_s(self) -> float:
        """How long the server wishes us to wait, 0 without a wish."""

    def body(self) -> bytes:
        """All of it; ApiError if it breaks off."""

    def error_body(self) -> bytes:
        """Its beginning, whatever happens."""

    def chunks(self) -> Iterator[bytes]:
        """Its pieces as they arrive, to its proper end; ApiError if it breaks off."""

    def shutdown(self) -> None:
        """Wake the thread that is reading."""

    def close(self) -> None:
        """Done with it."""


class Server(Protocol):
    """Something to GET from; `kube_client.ApiServer` is one."""

    def get(self, target: str, *, stream: bool) -> Answer:
        """Ask for a path with its query, whose answer streams or not; ApiError where no answer comes."""

    def close(self) -> None:
        """Release connections."""


class Clock:
    """Steady time and a stop signal that cuts every wait short."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def now(self) -> float:
        """Seconds since some point."""
        return time.monotonic()

    def wait_until(self, moment: float) -> bool:
        """Whether the moment came, rather than the stop signal."""
        return not self._stopped.wait(max(moment - self.now(), 0.0))

    def stop(self) -> None:
        """Wake all who wait, now and from now on."""
        self._stopped.set()


class KubernetesSource:
    """The API server as a `ports.Source`."""

    def __init__(
        self,
        server: Server,
        node: str,
        kinds: Collection[Kind] = tuple(Kind),
        clock: Clock | None = None,
        began: Callable[[str], None] | None = None,
        instance: Instance = DEFAULT,
    ) -> None:
        """Follows these kinds as far as they concern an instance on that node; nothing is sent before `start`.

        `began` is told the kind of every watch but the first.
        """
        self._server = server
        self._resources = [resource for kind, resource in resources(node, instance).items() if kind in kinds]
        self._clock = clock or Clock()
        self._began = began
        self._watched: set[str] = set()
        self._lock = threading.Lock()
        self._open: set[Answer] = set()
        self._threads: list[threading.Thread] = []

    def start(self, put: Put, fail: Fail) -> None:
        """Deliver each kind's whole list first, then what changes; `fail` hears of every error that is retried.

        A ParseError reported is an object that is skipped; it comes again with each list that still holds the object.
        """
        self._threads = [
            threading.Thread(target=self._run, args=(resource, put, fail), name=f"kube-{resource.kind}", daemon=True)
            for resource in self._resources
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End delivery at once, also where a thread is blocked reading."""
        self._clock.stop()
        with self._lock:
            for answer in self._open:
                answer.shutdown()
        deadline = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        self._server.close()

    def _run(self, resource: Resource, put: Put, fail: Fail) -> None:
        while not self._clock.stopped:
            try:
                self._follow(resource, put, fail)
            except Exception as error:  # noqa: BLE001 - a thread that died in silence would leave the node deaf
                fail(error)
                self._clock.wait_until(self._clock.now() + RESTART_S)

    def _follow(self, resource: Resource, put: Put, fail: Fail) -> None:
        """Drive one reflector until the stop signal."""
        step, known, rest = begin(resource, self._clock.now(), chance()), Known(), Rest()
        while step.ask is not None and self._clock.wait_until(step.ask.not_before):
            if step.ask.stream:
                self._count(resource.kind)
            with closing(self._happenings(resource, step.ask)) as happenings:
                for happened in happenings:
                    step = advance(step.state, self._clock.now(), happened, chance())
                    if self._clock.stopped:
                        return
                    for error in step.errors:
                        fail(error)
                    if news := known.news(step.events):
                        put(news)
                    if step.ask is not None:
                        break
                    if not news and step.state.phase is Phase.WATCH:
                        self._clock.wait_until(rest.after_nothing(self._clock.now()))

    def _count(self, kind: str) -> None:
        """Tell of a watch that begins, unless it is the kind's first."""
        if kind in self._watched and self._began is not None:
            self._began(kind)
        self._watched.add(kind)

    def _happenings(self, resource: Resource, ask: Ask) -> Generator[Happening, None, None]:
        """One request and its answer, told as the reflector wants to hear it."""
        try:
            answer = self._server.get(f"{resource.path}?{urlencode(ask.query)}", stream=ask.stream)
        except ApiError as error:
            yield Broken(str(error), answered=False)
            return
        with self._opened(answer):
            try:
                yield from told(answer, ask)
            except ApiError as error:
                yield Broken(str(error), answered=True)

    @contextmanager
    def _opened(self, answer: Answer) -> Iterator[None]:
        """Keep the answer where `stop` finds it."""
        with self._lock:
            self._open.add(answer)
        if self._clock.stopped:
            answer.shutdown()
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(answer)
            answer.close()


def told(answer: Answer, ask: Ask) -> Iterator[Happening]:
    """What an answer says, piece by piece; ApiError where it breaks off."""
    if answer.status != HTTPStatus.OK:
        yield Refused(answer.status, answer.error_body(), answer.retry_after_s)
        return
    if not ask.stream:
        yield Body(answer.body())
        return
    splitter = LineSplitter()
    for chunk in answer.chunks():
        if lines := splitter.feed(chunk):
            yield Lines(lines)
    if splitter.pending_bytes:
        raise ApiError("the answer ended in the middle of a line")
    yield Ended()


def chance() -> float:
    """A number in [0, 1) for jitter."""
    return random.random()  # noqa: S311 - it spreads load, it keeps no secret
