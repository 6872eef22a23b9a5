"""Each recording of a real API server, fed to the reflector: it does what the recordings' table says."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kproxy.core.model import Applied, Deleted, EndpointSlice, Kind, Replaced, Service, key_of
from kproxy.core.reading import Phase
from kproxy.core.reflector import advance, begin
from kproxy.core.reflector_state import Body, Ended, Lines, Refused, State, Step
from kproxy.core.resource import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, Resource, own_node
from kproxy.core.values import ObjectKey
from kproxy.errors import ApiDenied, ApiError, ApiExpired
from tests.fakes.recordings import load, names
from tests.unit.core.reflecting import CHANCE, NOW, query_of

OURS = {"kubernetes", "dns", "extip", "lb", "lb-proxy-mode", "nodeport", "web"}
"""Of the recorded Services: not `ext` (ExternalName), `headless`, nor `custom-proxy` (another proxy's)."""


def state(resource: Resource, phase: Phase, version: str = "") -> State:
    return replace(begin(resource, NOW, CHANCE).state, phase=phase, version=version)


def feed(name: str, before: State) -> Step:
    """The answer as it was recorded, and its end."""
    recorded = load(name)
    if recorded.status != 200:
        return advance(before, NOW, Refused(recorded.status, recorded.body), CHANCE)
    if not recorded.is_watch:
        return advance(before, NOW, Body(recorded.body), CHANCE)
    return advance(before, NOW, Lines(recorded.lines), CHANCE)


def listed(step: Step) -> Replaced:
    assert isinstance(step.events[0], Replaced)
    assert step.errors == ()
    assert step.events[0].unreadable == frozenset()
    return step.events[0]


LISTS = {
    "services-list": (SERVICES, OURS, "242"),
    "services-list-selected": (SERVICES, OURS, "243"),
    "endpointslices-list": (ENDPOINT_SLICES, None, "243"),
    "nodes-list-own": (own_node("node-a"), {"node-a"}, "243"),
    "servicecidrs-list": (SERVICE_CIDRS, {"kubernetes"}, "243"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_whole_list_is_taken_and_watched_from_its_version(name: str) -> None:
    resource, expected, version = LISTS[name]
    step = feed(name, state(resource, Phase.PAGES))
    found = {key_of(item).name for item in listed(step).items}
    assert found
    assert expected in (None, found)
    assert query_of(step)["resourceVersion"] == version
    assert query_of(step)["watch"] == "1"


def test_slices_of_type_fqdn_do_not_exist_for_us() -> None:
    items = listed(feed("endpointslices-list", state(ENDPOINT_SLICES, Phase.PAGES))).items
    assert "fqdn-1" not in {key_of(item).name for item in items}
    assert all(isinstance(item, EndpointSlice) for item in items)


def test_pages_follow_each_others_tokens() -> None:
    first = feed("services-list-page1", state(SERVICES, Phase.PAGES))
    assert first.events == ()
    assert query_of(first)["continue"] in load("services-list-page2").target
    second = feed("services-list-page2", first.state)
    assert second.events == ()
    assert query_of(second)["continue"] not in {"", query_of(first)["continue"]}


def test_a_watch_is_followed_to_its_last_bookmark_and_renewed_there() -> None:
    step = feed("services-watch", state(SERVICES, Phase.WATCH, "242"))
    assert [(type(event), key_name(event)) for event in step.events] == [
        (Applied, "tmp"),
        (Applied, "tmp"),
        (Applied, "web"),
        (Deleted, "tmp"),
    ]
    ended = advance(step.state, NOW + 75, Ended(), CHANCE)
    assert ended.errors == ()
    assert ended.ask is not None
    assert ended.ask.not_before == NOW + 75
    assert query_of(ended)["resourceVersion"] == "270"


def test_slices_change_and_go() -> None:
    step = feed("endpointslices-watch", state(ENDPOINT_SLICES, Phase.WATCH, "243"))
    applied, deleted = step.events
    assert isinstance(applied, Applied)
    assert isinstance(applied.item, EndpointSlice)
    assert [endpoint.terminating for endpoint in applied.item.endpoints] == [True, False]
    assert deleted == Deleted(Kind.ENDPOINT_SLICE, ObjectKey("shop", "fqdn-1"))
    assert step.state.version == "275"


def test_leaving_the_selector_is_deletion_and_coming_back_addition() -> None:
    step = feed("services-watch-selector-leave", state(SERVICES, Phase.WATCH, "1"))
    assert [type(event) for event in step.events[-2:]] == [Deleted, Applied]
    assert {key_name(event) for event in step.events[-2:]} == {"web"}


def test_a_streaming_list_ends_with_its_bookmark() -> None:
    step = feed("services-watchlist", state(SERVICES, Phase.STREAM))
    assert {item.key.name for item in listed(step).items if isinstance(item, Service)} == OURS
    assert (step.state.phase, step.state.version, step.ask) == (Phase.WATCH, "275", None)


def test_a_server_that_cannot_stream_is_asked_for_a_list_at_once() -> None:
    step = feed("services-watchlist-unsupported", state(SERVICES, Phase.STREAM))
    assert step.errors == ()
    assert step.state.phase is Phase.PAGES
    assert step.ask is not None
    assert step.ask.not_before == NOW


def test_a_version_that_the_server_has_not_reached_ends_in_a_new_list() -> None:
    recorded = load("future-resource-version")
    assert (recorded.status, recorded.lines) == (200, ())
    step = Step(state(SERVICES, Phase.WATCH, "99999999"))
    for round_ in range(1, 3):
        step = advance(step.state, NOW + 300 * round_, Ended(), CHANCE)
    assert step.state.phase is Phase.STREAM


ERRORS = {
    "services-watch-expired": (Phase.WATCH, ApiExpired, Phase.STREAM, 0.0),
    "services-list-exact-expired": (Phase.PAGES, ApiExpired, Phase.PAGES, 0.0),
    "services-watch-version-too-large": (Phase.WATCH, ApiError, Phase.WATCH, 1.0),
    "unauthorized": (Phase.PAGES, ApiDenied, Phase.PAGES, 0.8),
    "forbidden-anonymous": (Phase.PAGES, ApiDenied, Phase.PAGES, 0.8),
    "not-found": (Phase.PAGES, ApiError, Phase.PAGES, 0.8),
    "bad-resource-version": (Phase.WATCH, ApiError, Phase.STREAM, 0.8),
    "continue-bad": (Phase.PAGES, ApiError, Phase.PAGES, 0.8),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_reported_in_the_servers_words_and_retried_in_time(name: str) -> None:
    phase, error, after, at_least_s = ERRORS[name]
    step = feed(name, replace(state(SERVICES, phase, "5"), token="t" if name == "continue-bad" else ""))
    assert [type(found) for found in step.errors] == [error]
    recorded = load(name)
    said = recorded.json if recorded.body else recorded.events[0]["object"]
    assert said["message"].split(":")[0] in str(step.errors[0])
    assert step.state.phase is after
    assert step.state.token == ""
    assert step.ask is not None
    assert step.ask.not_before >= NOW + at_least_s


def test_no_recording_is_left_out() -> None:
    read_elsewhere = {"version", "node-get"}  # single objects: no list, no watch
    seen = {
        *LISTS,
        *ERRORS,
        *read_elsewhere,
        "services-list-page1",
        "services-list-page2",
        "services-watch",
        "endpointslices-watch",
        "services-watch-selector-leave",
        "services-watchlist",
        "services-watchlist-unsupported",
        "future-resource-version",
    }
    assert seen == set(names())


def key_name(event: object) -> str:
    return (
        key_of(event.item).name if isinstance(event, Applied) else event.key.name if isinstance(event, Deleted) else ""
    )
