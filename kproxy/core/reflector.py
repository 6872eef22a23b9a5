"""List and watch one kind of object: a machine without I/O, clock or chance.

How to drive it: `begin`, then send each `Ask` once its `not_before` has come
and give every part of the answer to `advance`, until a Step carries the next
Ask; that answer is then closed, whatever is left of it. Events come out in
the order in which they must be folded.

Three phases:

  STREAM  a streaming list (KEP-3157): ADDED… and the BOOKMARK that completes
          it; the same answer then goes on as a watch
  PAGES   a list in pages, for servers that cannot stream one
  WATCH   what changed after the list's resource version

What happens when an answer is not the one asked for stands in REACTIONS, by
phase and status code; an ERROR event counts as the status it carries.
Reference: client-go 1.36 tools/cache/reflector.go, which also sets the times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

from msgspec.structs import replace

from kproxy.core.envelope import Status, api_error, decode_list, decode_status
from kproxy.core.model import Replaced
from kproxy.core.reading import Phase, Reading, joined, read_items, replaced
from kproxy.core.reflector_state import (
    QUERIES,
    Ask,
    Body,
    Broken,
    Ended,
    Happening,
    Lines,
    Refused,
    State,
    Step,
)
from kproxy.core.resource import Resource
from kproxy.core.values import Value
from kproxy.errors import ApiError

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.8, 30.0
"""Before jitter, which at most doubles it."""
CALM_S = 120.0
"""Without failure for so long, the next one is the first again."""
LONGEST_WISH_S = 300.0
"""How much of a server's retryAfterSeconds is honoured."""
BRIEF_S = 1.0
"""A watch that ends sooner is not renewed at once time and again."""
SILENT_WATCHES = 2
"""So many watches on end without even a bookmark, and their resource version itself is doubted: list again."""
ABSENT_S = 600.0
"""How often, jitter aside, a server is asked again for an optional resource that it lacks."""


def begin(resource: Resource, now: float, chance: float) -> Step:
    """The first request; `now` in seconds of any steady clock, `chance` in [0, 1)."""
    return asking(State(resource), now, chance)


def advance(state: State, now: float, happened: Happening, chance: float) -> Step:
    """What follows. Never raises for what a server says."""
    return HANDLERS[type(happened)](state, now, happened, chance)


# -- answers as they should be ---------------------------------------------------------------------


def on_body(state: State, now: float, happened: Body, chance: float) -> Step:
    """A page of a list: ask for the next one, or begin to watch."""
    try:
        found = decode_list(happened.body)
    except ApiError as error:
        return again(state, now, chance, error, Reaction(from_start))
    batch, errors = read_items(state.resource.kind, found.items or (), state.resource.instance)
    state = replace(
        state, pending=joined(state.pending, batch), version=state.version or found.metadata.resource_version
    )
    if found.metadata.continue_:
        return replace(asking(replace(state, token=found.metadata.continue_), now, chance), errors=errors)
    events = (replaced(state.resource.kind, state.pending),)
    return replace(asking(watching(state), now, chance), events=events, errors=errors)


def on_lines(state: State, now: float, happened: Lines, chance: float) -> Step:
    """Events of a streaming list or watch, as far as the first one that ends it."""
    reading = Reading(state.resource, state.phase, state.version, state.pending)
    refusal: Step | None = None
    try:
        status = reading.take_all(happened.lines)
        state = after_reading(state, reading)
        if status is not None:
            refusal = on_status(state, now, chance, status)
    except ApiError as error:
        refusal = again(after_reading(state, reading), now, chance, error, GARBLED[reading.phase])
    events, errors = tuple(reading.events), tuple(reading.errors)
    if refusal is None:
        return Step(state, events, errors)
    return replace(refusal, events=(*events, *refusal.events), errors=(*errors, *refusal.errors))


def after_reading(state: State, reading: Reading) -> State:
    """The state with what lines have said."""
    heard = state.heard or reading.heard
    pending = reading.pending()
    return replace(state, phase=reading.phase, version=reading.version, pending=pending, heard=heard)


def on_ended(state: State, now: float, _: Ended, chance: float) -> Step:
    """A watch is renewed at once where it left off; a list that ends before its end is asked for in pages."""
    if state.phase is Phase.WATCH and state.heard and now - state.asked_at >= BRIEF_S:
        return asking(replace(state, silent=0), now, chance)
    said = "early" if state.heard else "without a single event"
    return again(state, now, chance, ApiError(f"{asked(state)}: ended {said}"), INTERRUPTED[state.phase])


# -- and as they should not be ---------------------------------------------------------------------


class Reaction(Value, frozen=True):
    """What follows an answer that was not the one asked for."""

    then: Callable[[State], State]
    prompt: bool = False
    """Whether the first time needs no wait."""
    quiet: bool = False
    """Whether it is no error."""


def same(state: State) -> State:
    """The same request again."""
    return state


def relist(state: State) -> State:
    """From the very beginning, trusting nothing that a cache may hold."""
    return replace(from_start(state), phase=Phase.STREAM, limited=True)


def from_start(state: State) -> State:
    """A list in pages, from its first page."""
    return replace(state, phase=Phase.PAGES, version="", oldest="", token="", pending=(), silent=0)


def in_pages(state: State) -> State:
    """Instead of a streaming list, one in pages."""
    return replace(from_start(state), oldest=state.oldest)


def unpaged(state: State) -> State:
    """A list whose pages outlived their resource version is asked for as a whole."""
    return replace(from_start(state), limited=state.limited and not state.token)


def renew(state: State) -> State:
    """Watch on from the same version, unless watches from there have been silent too often."""
    silent = 0 if state.heard else state.silent + 1
    return relist(state) if silent >= SILENT_WATCHES else replace(state, silent=silent)


def watching(state: State) -> State:
    """A watch from the version that the list had."""
    return replace(state, phase=Phase.WATCH, token="", pending=(), oldest="", limited=True, silent=0)


WAIT: dict[int, Reaction] = dict.fromkeys((401, 403, 429, 502, 503, 504), Reaction(same))
"""Denied or busy: nothing is wrong with the request."""
REACTIONS: Mapping[Phase, Mapping[int, Reaction]] = {
    Phase.STREAM: WAIT,
    Phase.PAGES: WAIT | {410: Reaction(unpaged, prompt=True), 500: Reaction(same)},
    Phase.WATCH: WAIT | {410: Reaction(relist, prompt=True), 504: Reaction(renew)},
}
"""504 is also a version that the server has not reached yet: it may catch up, or never."""
OTHERWISE = {
    Phase.STREAM: Reaction(in_pages, prompt=True, quiet=True),
    Phase.PAGES: Reaction(from_start),
    Phase.WATCH: Reaction(relist),
}
INTERRUPTED = {
    Phase.STREAM: Reaction(in_pages, prompt=True),
    Phase.PAGES: Reaction(same, prompt=True),
    Phase.WATCH: Reaction(renew, prompt=True),
}
GARBLED = {Phase.STREAM: Reaction(in_pages), Phase.WATCH: Reaction(relist)}


def on_broken(state: State, now: float, happened: Broken, chance: float) -> Step:
    """Without any answer the same request again; an answer that broke off is taken up where that is possible."""
    reaction = INTERRUPTED[state.phase] if happened.answered else Reaction(same)
    return again(state, now, chance, ApiError(f"{asked(state)}: {happened.reason}"), reaction)


def on_refused(state: State, now: float, happened: Refused, chance: float) -> Step:
    """A status other than 200."""
    status = decode_status(happened.body)
    return on_status(state, now, chance, replace(status, code=happened.code), happened.retry_after_s)


def on_status(state: State, now: float, chance: float, status: Status, retry_after_s: float = 0.0) -> Step:
    """An error that the server states, as an answer or as an ERROR event."""
    if status.code == HTTPStatus.NOT_FOUND and state.resource.optional:
        nothing = Replaced(state.resource.kind, ())
        return replace(asking(relist(state), now + ABSENT_S * (1 + chance), chance), events=(nothing,))
    error = api_error(asked(state), status.code, status, retry_after_s)
    reaction = REACTIONS[state.phase].get(status.code, OTHERWISE[state.phase])
    return again(state, now, chance, error, reaction)


def again(state: State, now: float, chance: float, error: ApiError, reaction: Reaction) -> Step:
    """Ask again as the reaction says: the more failures in a row the later, and never sooner than the server wishes."""
    failures = 0 if now - state.failed_at >= CALM_S else state.failures
    wait_s = 0.0 if reaction.prompt and failures == 0 else backoff_s(failures, chance)
    wait_s = max(wait_s, min(error.retry_after_s, LONGEST_WISH_S))
    state = replace(reaction.then(state), failures=failures + 1, failed_at=now)
    errors = () if reaction.quiet else (error,)
    return replace(asking(state, now + wait_s, chance), errors=errors)


def backoff_s(failures: int, chance: float) -> float:
    """How long to wait after so many failures before this one: 0.8 s, doubled each time up to 30 s, then jitter."""
    return min(FIRST_BACKOFF_S * 2.0 ** min(failures, 16), LONGEST_BACKOFF_S) * (1 + chance)


# -- requests --------------------------------------------------------------------------------------


def asked(state: State) -> str:
    """The request in hand, for error texts."""
    return f"{state.phase.value} of {state.resource.path}"


def asking(state: State, at: float, chance: float) -> Step:
    """The step that asks what the state needs next."""
    if state.phase is Phase.STREAM:
        state = replace(state, pending=())
    query = (*state.resource.selectors, *QUERIES[state.phase](state, chance))
    ask = Ask(tuple((name, value) for name, value in query if value), state.phase is not Phase.PAGES, at)
    return Step(replace(state, asked_at=at, heard=False), ask=ask)


HANDLERS: Mapping[type[Happening], Callable[..., Step]] = {
    Body: on_body,
    Lines: on_lines,
    Ended: on_ended,
    Broken: on_broken,
    Refused: on_refused,
}
