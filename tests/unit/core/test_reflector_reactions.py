"""What follows each answer that is not the one asked for: one row each."""

from __future__ import annotations

import pytest

from kproxy.core.reading import Phase
from kproxy.core.reflector import advance
from kproxy.core.reflector_state import Body, Ended, Happening, Lines, State
from kproxy.errors import ApiDenied, ApiError, ApiExpired
from tests.fakes.apimemory import error_line, event_line
from tests.unit.core.reflecting import (
    CHANCE,
    CUT_OFF,
    FIRST_WAIT_S,
    LISTING,
    NO_SERVER,
    NOW,
    PAGING,
    STREAMING,
    WATCHING,
    query_of,
    refused,
)

AT_ONCE, LATER = 0.0, FIRST_WAIT_S
STREAM, PAGES, WATCH = Phase.STREAM, Phase.PAGES, Phase.WATCH
Row = tuple[State, Happening, Phase, dict[str, str], float, type[Exception] | None]
"""In that state this happens: next phase, its request's version or token, its wait, what is reported."""

NEWEST: dict[str, str] = {}
"""No version: the newest that the store has."""
CACHED = {"resourceVersion": "0"}
FROM_9 = {"resourceVersion": "9"}
NEXT = {"continue": "next"}
DEEP = b'{"type":"ADDED","object":' + b"[" * 100_000


def told(*lines: bytes) -> Lines:
    return Lines(lines)


def busy(retry_after_s: int) -> bytes:
    return error_line(504, "Timeout", {"retryAfterSeconds": retry_after_s})


ROWS: dict[str, Row] = {
    "stream, unsupported (event)": (STREAMING, told(error_line(500)), PAGES, CACHED, AT_ONCE, None),
    "stream, unsupported (status)": (STREAMING, refused(422), PAGES, CACHED, AT_ONCE, None),
    "stream, bad request": (STREAMING, refused(400), PAGES, CACHED, AT_ONCE, None),
    "stream, 401": (STREAMING, refused(401), STREAM, NEWEST, LATER, ApiDenied),
    "stream, 403": (STREAMING, refused(403), STREAM, NEWEST, LATER, ApiDenied),
    "stream, 429": (STREAMING, refused(429, 5.0), STREAM, NEWEST, 5.0, ApiError),
    "stream, 503": (STREAMING, refused(503), STREAM, NEWEST, LATER, ApiError),
    "stream, 504 event": (STREAMING, told(busy(9)), STREAM, NEWEST, 9.0, ApiError),
    "stream, cut": (STREAMING, CUT_OFF, PAGES, CACHED, AT_ONCE, ApiError),
    "stream, ended early": (STREAMING, Ended(), PAGES, CACHED, AT_ONCE, ApiError),
    "stream, garbage": (STREAMING, told(b"{garbage"), PAGES, CACHED, LATER, ApiError),
    "stream, no server": (STREAMING, NO_SERVER, STREAM, NEWEST, LATER, ApiError),
    "list, 410": (LISTING, refused(410), PAGES, NEWEST, AT_ONCE, ApiExpired),
    "page, 410": (PAGING, refused(410), PAGES, NEWEST, AT_ONCE, ApiExpired),
    "page, bad token": (PAGING, refused(400), PAGES, NEWEST, LATER, ApiError),
    "page, 500": (PAGING, refused(500), PAGES, NEXT, LATER, ApiError),
    "page, cut": (PAGING, CUT_OFF, PAGES, NEXT, AT_ONCE, ApiError),
    "page, no server": (PAGING, NO_SERVER, PAGES, NEXT, LATER, ApiError),
    "list, 401": (LISTING, refused(401), PAGES, CACHED, LATER, ApiDenied),
    "list, 404": (LISTING, refused(404), PAGES, NEWEST, LATER, ApiError),
    "list, garbage": (LISTING, Body(b"<html>"), PAGES, NEWEST, LATER, ApiError),
    "list, no version": (LISTING, Body(b'{"metadata":{},"items":[]}'), PAGES, NEWEST, LATER, ApiError),
    "watch, 410 event": (WATCHING, told(error_line(410)), STREAM, NEWEST, AT_ONCE, ApiExpired),
    "watch, 410 status": (WATCHING, refused(410), STREAM, NEWEST, AT_ONCE, ApiExpired),
    "watch, 401": (WATCHING, refused(401), WATCH, FROM_9, LATER, ApiDenied),
    "watch, 403 event": (WATCHING, told(error_line(403)), WATCH, FROM_9, LATER, ApiDenied),
    "watch, 429": (WATCHING, refused(429, 2.0), WATCH, FROM_9, 2.0, ApiError),
    "watch, 503": (WATCHING, refused(503), WATCH, FROM_9, LATER, ApiError),
    "watch, 504 event": (WATCHING, told(busy(3)), WATCH, FROM_9, 3.0, ApiError),
    "watch, 500": (WATCHING, refused(500), STREAM, NEWEST, LATER, ApiError),
    "watch, 500 event": (WATCHING, told(error_line(500)), STREAM, NEWEST, LATER, ApiError),
    "watch, error without code": (WATCHING, told(b'{"type":"ERROR","object":{}}'), STREAM, NEWEST, LATER, ApiError),
    "watch, cut": (WATCHING, CUT_OFF, WATCH, FROM_9, AT_ONCE, ApiError),
    "watch, silent end": (WATCHING, Ended(), WATCH, FROM_9, AT_ONCE, ApiError),
    "watch, no server": (WATCHING, NO_SERVER, WATCH, FROM_9, LATER, ApiError),
    "watch, garbage": (WATCHING, told(b"\xff\xfe"), STREAM, NEWEST, LATER, ApiError),
    "watch, deep nesting": (WATCHING, told(DEEP), STREAM, NEWEST, LATER, ApiError),
    "watch, no event": (WATCHING, told(b"[]"), STREAM, NEWEST, LATER, ApiError),
    "watch, unknown event": (WATCHING, told(event_line("RENAMED", {})), STREAM, NEWEST, LATER, ApiError),
    "watch, nameless deletion": (WATCHING, told(event_line("DELETED", {})), STREAM, NEWEST, LATER, ApiError),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_reaction(name: str) -> None:
    state, happened, phase, query, wait_s, error = ROWS[name]
    step = advance(state, NOW, happened, CHANCE)
    assert step.state.phase is phase
    assert step.ask is not None
    assert step.ask.stream is (phase is not PAGES)
    assert step.ask.not_before == pytest.approx(NOW + wait_s)
    asked = query_of(step)
    assert {key: asked[key] for key in ("resourceVersion", "continue") if key in asked} == query
    assert [type(found) for found in step.errors] == ([error] if error else [])
