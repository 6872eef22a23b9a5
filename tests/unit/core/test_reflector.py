"""The reflector step by step: which request follows which answer, when, and what is reported."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kproxy.core.model import Applied, Deleted, Kind, Replaced
from kproxy.core.reading import Phase
from kproxy.core.reflector import (
    ABSENT_S,
    CALM_S,
    LONGEST_BACKOFF_S,
    LONGEST_WISH_S,
    SILENT_WATCHES,
    advance,
    backoff_s,
    begin,
)
from kproxy.core.reflector_state import Body, Ended, Lines, Refused, State
from kproxy.core.resource import SERVICE_CIDRS, SERVICES
from kproxy.core.values import ObjectKey
from kproxy.errors import ApiExpired, ParseError
from tests.fakes.apimemory import bookmark_line, error_line, event_line
from tests.fakes.apiobjects import service
from tests.fakes.apiwire import encode, status_body
from tests.unit.core.reflecting import (
    CHANCE,
    LISTING,
    NO_SERVER,
    NOW,
    PAGING,
    STREAMING,
    WATCHING,
    list_of,
    query_of,
    refused,
    versioned,
)

# -- the way it goes when all is well ----------------------------------------------------------------


def test_it_begins_with_a_streaming_list_that_carries_the_selectors() -> None:
    step = begin(SERVICES, NOW, CHANCE)
    assert step.ask is not None
    assert step.ask.stream
    assert step.ask.not_before == NOW
    assert query_of(step) == {
        "fieldSelector": "spec.clusterIP!=None",
        "labelSelector": "!service.kubernetes.io/service-proxy-name",
        "watch": "1",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "450",
    }


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, "300"), (0.5, "450"), (0.999, "599")])
def test_watches_are_asked_to_last_five_to_ten_minutes(chance: float, seconds: str) -> None:
    assert query_of(begin(SERVICES, NOW, chance))["timeoutSeconds"] == seconds


def test_a_streaming_list_is_complete_with_its_bookmark_and_goes_on_as_a_watch() -> None:
    cart, tmp = service("cart"), service("tmp")
    first = advance(STREAMING, NOW, Lines((event_line("ADDED", cart), event_line("ADDED", tmp))), CHANCE)
    assert (first.events, first.ask) == ((), None)
    second = advance(
        first.state,
        NOW,
        Lines((event_line("DELETED", tmp), bookmark_line(12, ends=True), event_line("ADDED", tmp))),
        CHANCE,
    )
    assert second.ask is None
    assert [type(event) for event in second.events] == [Replaced, Applied]
    listed = second.events[0]
    assert isinstance(listed, Replaced)
    assert [item.key.name for item in listed.items] == ["cart"]
    assert (second.state.phase, second.state.pending) == (Phase.WATCH, ())


def test_a_bookmark_without_the_annotation_does_not_complete_the_list() -> None:
    step = advance(STREAMING, NOW, Lines((bookmark_line(12),)), CHANCE)
    assert (step.events, step.state.phase) == ((), Phase.STREAM)


def test_pages_are_gathered_and_given_as_one_list_with_the_first_pages_version() -> None:
    first = advance(LISTING, NOW, list_of(service("a"), token="more"), CHANCE)
    assert first.events == ()
    query = query_of(first)
    assert (query["continue"], query["limit"]) == ("more", "500")
    assert "resourceVersion" not in query
    second = advance(first.state, NOW, list_of(service("b"), version="8"), CHANCE)
    assert isinstance(second.events[0], Replaced)
    assert [item.key.name for item in second.events[0].items] == ["a", "b"]
    assert query_of(second)["resourceVersion"] == "7"
    assert query_of(second)["watch"] == "1"


def test_a_watch_tells_each_change_and_goes_on_from_the_last_version() -> None:
    lines = (
        event_line("ADDED", versioned(service("a"), 10)),
        event_line("MODIFIED", versioned(service("a", cluster_ip="10.96.0.21"), 11)),
        event_line("DELETED", versioned(service("a"), 12)),
        bookmark_line(15),
    )
    step = advance(WATCHING, NOW, Lines(lines), CHANCE)
    assert [type(event) for event in step.events] == [Applied, Applied, Deleted]
    assert (step.state.version, step.ask) == ("15", None)
    ended = advance(step.state, NOW + 400, Ended(), CHANCE)
    assert (ended.errors, ended.ask and ended.ask.not_before) == ((), NOW + 400)
    assert query_of(ended)["resourceVersion"] == "15"
    assert ended.state.failures == 0


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED"])
def test_what_is_not_ours_any_more_is_told_as_deleted(kind: str) -> None:
    headless = service("a", cluster_ip="None")
    step = advance(WATCHING, NOW, Lines((event_line(kind, headless),)), CHANCE)
    assert step.events == (Deleted(Kind.SERVICE, ObjectKey("shop", "a")),)


# -- objects that cannot be read ---------------------------------------------------------------------

BAD = service("bad", ports=[{"name": "http", "protocol": "TCP", "port": 70000}])


def test_an_unreadable_object_is_named_in_the_list_and_harms_no_other() -> None:
    step = advance(LISTING, NOW, list_of(service("a"), BAD), CHANCE)
    listed = step.events[0]
    assert isinstance(listed, Replaced)
    assert [item.key.name for item in listed.items] == ["a"]
    assert listed.unreadable == {ObjectKey("shop", "bad")}
    assert [type(error) for error in step.errors] == [ParseError]
    assert "shop/bad" in str(step.errors[0])


def test_the_same_in_a_streaming_list() -> None:
    lines = (event_line("ADDED", BAD), event_line("ADDED", service("a")), bookmark_line(3, ends=True))
    step = advance(STREAMING, NOW, Lines(lines), CHANCE)
    listed = step.events[0]
    assert isinstance(listed, Replaced)
    assert (len(listed.items), listed.unreadable) == (1, {ObjectKey("shop", "bad")})
    assert [type(error) for error in step.errors] == [ParseError]


def test_in_a_watch_it_is_reported_and_the_watch_goes_on() -> None:
    lines = (event_line("MODIFIED", versioned(BAD, 10)), event_line("ADDED", versioned(service("a"), 11)))
    step = advance(WATCHING, NOW, Lines(lines), CHANCE)
    assert [type(event) for event in step.events] == [Applied]
    assert [type(error) for error in step.errors] == [ParseError]
    assert (step.state.version, step.ask) == ("11", None)


@pytest.mark.parametrize("item", [{"metadata": {"name": 7}}, {"metadata": 7}, {}, {"metadata": {"name": ""}}, 7, None])
def test_an_object_without_a_name_is_reported_and_skipped(item: object) -> None:
    body = encode({"metadata": {"resourceVersion": "7"}, "items": [item, service("a")]})
    step = advance(LISTING, NOW, Body(body), CHANCE)
    listed = step.events[0]
    assert isinstance(listed, Replaced)
    assert (len(listed.items), listed.unreadable) == (1, frozenset())
    assert [type(error) for error in step.errors] == [ParseError]


# -- waits, wishes, doubts --------------------------------------------------------------------------


def test_a_list_whose_pages_expired_is_asked_for_whole_and_later_lists_in_pages_again() -> None:
    whole = advance(PAGING, NOW, refused(410), CHANCE)
    assert "limit" not in query_of(whole)
    assert whole.state.pending == ()
    watch = advance(whole.state, NOW, list_of(service("a")), CHANCE)
    stream = advance(watch.state, NOW, refused(410), CHANCE)
    pages = advance(stream.state, NOW, refused(422), CHANCE)
    assert query_of(pages)["limit"] == "500"


def test_events_before_an_error_are_kept() -> None:
    lines = (event_line("ADDED", versioned(service("a"), 10)), error_line(410, "Expired"), b"never read")
    step = advance(WATCHING, NOW, Lines(lines), CHANCE)
    assert [type(event) for event in step.events] == [Applied]
    assert [type(error) for error in step.errors] == [ApiExpired]


def test_a_list_after_an_expired_version_trusts_no_cache() -> None:
    stream = advance(WATCHING, NOW, refused(410), CHANCE)
    assert "resourceVersion" not in query_of(stream)
    assert "resourceVersion" not in query_of(advance(stream.state, NOW, refused(422), CHANCE))


def test_a_watch_that_ends_at_once_is_not_renewed_in_a_hot_loop() -> None:
    state, now, waits = WATCHING, NOW, []
    for version in range(10, 16):
        step = advance(state, now, Lines((bookmark_line(version),)), CHANCE)
        step = advance(step.state, now + 0.01, Ended(), CHANCE)
        assert step.ask is not None
        waits.append(step.ask.not_before - now - 0.01)
        state, now = step.state, step.ask.not_before
        assert state.phase is Phase.WATCH
    assert waits[0] == pytest.approx(0.0)
    assert waits[1:] == sorted(waits[1:])
    assert min(waits[1:]) >= 0.8


def test_a_version_that_the_server_never_reaches_is_given_up() -> None:
    state, now = WATCHING, NOW
    for _ in range(SILENT_WATCHES):
        assert state.phase is Phase.WATCH
        now += 450
        step = advance(state, now, Ended(), CHANCE)
        state = step.state
    assert state.phase is Phase.STREAM
    assert "resourceVersion" not in query_of(step)


def test_bookmarks_keep_a_quiet_watch_from_being_doubted() -> None:
    state, now = WATCHING, NOW
    for _ in range(5):
        now += 450
        state = advance(advance(state, now, Lines((bookmark_line(9),)), CHANCE).state, now, Ended(), CHANCE).state
        assert (state.phase, state.version) == (Phase.WATCH, "9")


@pytest.mark.parametrize("wish_s", [10.0**9, float("inf"), LONGEST_WISH_S])
def test_a_servers_wish_is_honoured_within_reason(wish_s: float) -> None:
    step = advance(WATCHING, NOW, refused(429, wish_s), CHANCE)
    assert step.ask is not None
    assert step.ask.not_before == NOW + LONGEST_WISH_S


def test_backoff_grows_to_its_cap_and_forgets_after_calm() -> None:
    step = begin(SERVICES, NOW, CHANCE)
    now, waits = NOW, []
    for _ in range(12):
        step = advance(step.state, now, NO_SERVER, CHANCE)
        assert step.ask is not None
        waits.append(step.ask.not_before - now)
        now = step.ask.not_before
    assert waits[:4] == pytest.approx([1.2, 2.4, 4.8, 9.6])
    assert waits[-1] == pytest.approx(LONGEST_BACKOFF_S * 1.5)
    after = advance(step.state, now + CALM_S, NO_SERVER, CHANCE)
    assert after.ask is not None
    assert after.ask.not_before - now - CALM_S == pytest.approx(1.2)


@pytest.mark.parametrize("chance", [0.0, 0.999999])
@pytest.mark.parametrize("failures", [0, 1, 5, 50, 10_000])
def test_jitter_at_most_doubles(failures: int, chance: float) -> None:
    base = backoff_s(failures, 0.0)
    assert base <= backoff_s(failures, chance) < 2 * base <= 2 * LONGEST_BACKOFF_S


CIDRS_LISTING = replace(begin(SERVICE_CIDRS, NOW, CHANCE).state, phase=Phase.PAGES)


@pytest.mark.parametrize("state", [begin(SERVICE_CIDRS, NOW, CHANCE).state, CIDRS_LISTING])
def test_a_server_without_an_optional_resource_has_none_of_it(state: State) -> None:
    step = advance(state, NOW, refused(404), CHANCE)
    assert step.events == (Replaced(Kind.SERVICE_CIDR, ()),)
    assert step.errors == ()
    assert step.ask is not None
    assert step.ask.not_before >= NOW + ABSENT_S


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>\n\x1b[31mbad   gateway</html>", "502 <html> [31mbad gateway</html>"),
        (b"", "502"),
        (b'{"kind":"Status","message":7}', "502"),
        (encode(status_body(502, "Bad", "m" * 5000)), "502 Bad mmm"),
    ],
)
def test_error_texts_name_the_request_and_stay_short(body: bytes, said: str) -> None:
    text = str(advance(WATCHING, NOW, Refused(502, body), CHANCE).errors[0])
    assert text.startswith(f"watch of /api/v1/services: {said}")
    assert text.isprintable()
    assert len(text) < 400


def test_the_machine_keeps_nothing_outside_its_state() -> None:
    happenings = (Lines((event_line("ADDED", service("a")),)), Lines((bookmark_line(4, ends=True),)))
    twice = []
    for _ in range(2):
        step = begin(SERVICES, NOW, CHANCE)
        for happened in happenings:
            step = advance(step.state, NOW, happened, CHANCE)
        twice.append(step)
    assert twice[0] == twice[1]
