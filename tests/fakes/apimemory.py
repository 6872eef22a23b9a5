"""The fake API server without sockets: one client, simulated time, faults by choice. For the reflector's own tests."""

from __future__ import annotations

from collections.abc import Iterable

from kproxy.core.lines import LineSplitter
from kproxy.core.model import Applied, Deleted, Event, KubeObject, key_of
from kproxy.core.reflector import advance, begin
from kproxy.core.reflector_state import Ask, Body, Broken, Ended, Happening, Lines, Refused, Step
from kproxy.core.resource import Resource
from kproxy.core.values import ObjectKey
from tests.fakes.apistore import COLLECTIONS, BadToken, Gone, Json, Store, event_of, selector_of
from tests.fakes.apiwire import encode, list_body, status_body

BOOKMARK_S = 60.0
STALL_S = 120.0


def event_line(kind: str, item: Json) -> bytes:
    return encode({"type": kind, "object": item})


def bookmark_line(version: int, *, ends: bool = False) -> bytes:
    annotations = {"annotations": {"k8s.io/initial-events-end": "true"}} if ends else {}
    return event_line("BOOKMARK", {"metadata": {"resourceVersion": str(version), **annotations}})


def error_line(code: int, reason: str = "", details: Json | None = None) -> bytes:
    return event_line("ERROR", status_body(code, reason, "injected", details))


class Simulation:
    """A reflector, the server that it talks to, and the state that its events fold into."""

    def __init__(self, store: Store, resource: Resource, *, streaming: bool = True, page: int = 0) -> None:
        self.store = store
        self.resource = resource
        self.streaming = streaming
        self.page = page
        """How many objects a page holds, whatever is asked for; 0 for what is asked."""
        self.now = 0.0
        self.chance = 0.5
        self.asks: list[Ask] = []
        self.errors: list[Exception] = []
        self.known: dict[ObjectKey, KubeObject] = {}
        self.complete = False
        self._path = resource.path
        self._selector = selector_of(dict(resource.selectors).get("labelSelector", ""), "")
        self._reached = 0
        self._silent_from = 0.0
        self._splitter = LineSplitter()
        self._live = False
        self.step = Step(begin(resource, 0.0, self.chance).state)
        self._took(begin(resource, 0.0, self.chance))

    @property
    def in_stream(self) -> bool:
        return self._live

    def request(self, fault: Happening | None = None, cut_at: int | None = None) -> None:
        """Send the request that is due, at its time; the fault is the whole answer if there is one.

        With `cut_at` the connection is cut after so many initial events.
        """
        ask = self.step.ask
        assert ask is not None
        self.now = max(self.now, ask.not_before)
        self.asks.append(ask)
        self.step = Step(self.step.state)
        self._splitter = LineSplitter()
        if fault is not None:
            self.happen(fault)
        elif ask.stream:
            self._begin_stream(dict(ask.query), cut_at)
        else:
            self.happen(self._list(dict(ask.query)))

    def happen(self, happened: Happening) -> None:
        self._took(advance(self.step.state, self.now, happened, self.chance))

    def deliver(self, cut_at: int | None = None) -> None:
        """Send what has changed since; with `cut_at` only so many bytes of it, and then the connection is cut."""
        changes = self.store.changes(self._path, self._reached)
        if self._reached < self.store.oldest:
            self.send([error_line(410, "Expired")])
            return
        self._reached = max(self._reached, self.store.version)
        events = [event for change in changes if (event := event_of(change, self._selector))]
        self.send([event_line(*event) for event in events], cut_at)

    def send(self, lines: Iterable[bytes], cut_at: int | None = None) -> None:
        data = b"".join(line + b"\n" for line in lines)
        sent = data if cut_at is None else data[:cut_at]
        if (found := self._splitter.feed(sent)) and self._live:
            self._silent_from = self.now
            self.happen(Lines(found))
        if cut_at is not None and self._live:
            self.happen(Broken("connection reset", answered=True))

    def end(self) -> None:
        self.happen(Ended())

    def stop_stream(self) -> None:
        """Whatever was said, the stream is over now."""
        if self._live:
            self.happen(Broken("connection reset", answered=True))

    def settle(self, requests: int = 12) -> None:
        """Let the server be well: at most so many requests until the reflector is in a watch that has said all."""
        for _ in range(requests):
            while not self._live:
                self.request()
            self.deliver()
            if self._live and self._reached <= self.store.version:
                self.send([bookmark_line(self.store.version)])
                return
            if self._live:
                self.now = self._silent_from + STALL_S
                self.happen(Broken("silence", answered=True))
        raise AssertionError(f"not settled: {self.asks[-3:]}")

    def _took(self, step: Step) -> None:
        self.step = step
        self._live = self._live and step.ask is None
        self.errors.extend(step.errors)
        for event in step.events:
            self._fold(event)

    def _fold(self, event: Event) -> None:
        if isinstance(event, Applied):
            self.known[key_of(event.item)] = event.item
        elif isinstance(event, Deleted):
            self.known.pop(event.key, None)
        else:
            kept = {key: item for key, item in self.known.items() if key in event.unreadable}
            self.known = kept | {key_of(item): item for item in event.items}
            self.complete = True

    def _begin_stream(self, query: dict[str, str], cut_at: int | None) -> None:
        self._live, self._silent_from = True, self.now
        initial = query.get("sendInitialEvents") == "true"
        if initial and not self.streaming:
            return self.send([error_line(500, "InternalError")])
        if initial:
            self._reached = self.store.version
            items = self.store.items(self._path)
            lines = [event_line("ADDED", items[key]) for key in sorted(items) if self._selector(items[key])]
            for line in [*lines, bookmark_line(self._reached, ends=True)][:cut_at]:
                self.send([line])
            return None if cut_at is None else self.stop_stream()
        self._reached = int(query["resourceVersion"])
        if self._reached < self.store.oldest:
            return self.send([error_line(410, "Expired")])
        return None

    def _list(self, query: dict[str, str]) -> Happening:
        limit = min(int(query.get("limit", 0)), self.page or 10**9)
        try:
            page = self.store.page(self._path, self._selector, limit, query.get("continue", ""), None)
        except Gone:
            return Refused(410, encode(status_body(410, "Expired", "too old")))
        except BadToken:
            return Refused(400, encode(status_body(400, "BadRequest", "invalid continue token")))
        return Body(encode(list_body(COLLECTIONS[self._path], page)))
