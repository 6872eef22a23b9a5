"""What the reflector is told, what it answers, what it remembers in between, and how it asks."""

from __future__ import annotations

from kproxy.core.model import Event
from kproxy.core.reading import Batch, Phase
from kproxy.core.resource import Resource
from kproxy.core.values import Value
from kproxy.errors import KproxyError

PAGE_LIMIT = 500
SHORTEST_WATCH_S = 300.0
"""A watch is asked to last one to two times this, so that watches do not all end together."""


class Ask(Value, frozen=True):
    """The next request: GET the resource's path with this query, not before that time."""

    query: tuple[tuple[str, str], ...]
    stream: bool
    """Whether the answer is lines that come as they happen, or one body."""
    not_before: float


class Body(Value, frozen=True):
    """The whole answer to an Ask that does not stream."""

    body: bytes


class Lines(Value, frozen=True):
    """Complete lines of a streaming answer."""

    lines: tuple[bytes, ...]


class Ended(Value, frozen=True):
    """A streaming answer came to its proper end."""


class Broken(Value, frozen=True):
    """The answer broke off, stalled, or is not what HTTP allows; or there was none at all."""

    reason: str
    answered: bool


class Refused(Value, frozen=True):
    """An answer whose status is not 200."""

    code: int
    body: bytes
    retry_after_s: float = 0.0


Happening = Body | Lines | Ended | Broken | Refused


class State(Value, frozen=True):
    """All that is remembered between two happenings."""

    resource: Resource
    asked_at: float = 0.0
    phase: Phase = Phase.STREAM
    version: str = ""
    """The resource version to watch from."""
    oldest: str = "0"
    """What a list may be as old as: "0" whatever the server has at hand, "" the newest there is."""
    limited: bool = True
    token: str = ""
    """Where the next page starts."""
    pending: tuple[Batch, ...] = ()
    """What an unfinished list has said so far."""
    heard: bool = False
    """Whether the stream in hand has said anything."""
    silent: int = 0
    """How many watches on end have said nothing."""
    failures: int = 0
    failed_at: float = float("-inf")


class Step(Value, frozen=True):
    """What follows from a happening; without `ask` the answer is read on."""

    state: State
    events: tuple[Event, ...] = ()
    errors: tuple[KproxyError, ...] = ()
    ask: Ask | None = None


Query = tuple[tuple[str, str], ...]


def stream_query(_: State, chance: float) -> Query:
    """Without a resource version: the list shall be as new as the store."""
    return (
        ("watch", "1"),
        ("sendInitialEvents", "true"),
        ("resourceVersionMatch", "NotOlderThan"),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", watch_timeout(chance)),
    )


def page_query(state: State, _: float) -> Query:
    """A later page takes its resource version from its token and refuses any other."""
    oldest = "" if state.token else state.oldest
    limit = str(PAGE_LIMIT) if state.limited else ""
    return (("limit", limit), ("continue", state.token), ("resourceVersion", oldest))


def watch_query(state: State, chance: float) -> Query:
    """From the last version seen."""
    return (
        ("watch", "1"),
        ("allowWatchBookmarks", "true"),
        ("resourceVersion", state.version),
        ("timeoutSeconds", watch_timeout(chance)),
    )


def watch_timeout(chance: float) -> str:
    """Seconds, whole."""
    return str(int(SHORTEST_WATCH_S * (1 + chance)))


QUERIES = {Phase.STREAM: stream_query, Phase.PAGES: page_query, Phase.WATCH: watch_query}
