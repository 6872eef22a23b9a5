"""The fake is faithful: asked what was recorded, in the state that was recorded, it answers as the real server did."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.fakes.apiserver import BOOKMARK, END, ApiServer, Fault
from tests.fakes.apistore import COLLECTIONS, PATHS, Json
from tests.fakes.recordings import Recording, load, names

STATE = ("services-list", "endpointslices-list", "nodes-list-own", "servicecidrs-list")


def listed(name: str) -> list[Json]:
    shape = COLLECTIONS[load(name).target.partition("?")[0]]
    return [{"kind": shape.kind, "apiVersion": shape.api_version, **item} for item in load(name).json["items"]]


def version_of(item: Json) -> int:
    return int(item["metadata"]["resourceVersion"])


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """With the objects that were listed, at version 243 as they were."""
    with ApiServer() as server:
        for item in sorted((item for name in STATE for item in listed(name)), key=version_of):
            server.store.put(item, version_of(item))
        assert server.store.version == 243
        yield server


class Heard:
    """An answer whose head has been compared with the recording's."""

    def __init__(self, server: ApiServer, recorded: Recording, authorization: str = "") -> None:
        self._connection = http.client.HTTPConnection(server.url.partition("://")[2], timeout=10)
        headers = {"Authorization": authorization} if authorization else {}
        self._connection.request("GET", recorded.target, headers=headers)
        self._response = self._connection.getresponse()
        assert self._response.status == recorded.status
        for name in ("Cache-Control", "Content-Type"):
            assert self._response.headers[name] == recorded.headers[name]
        for name in ("Transfer-Encoding", "Content-Length"):
            assert (name in self._response.headers) == (name in recorded.headers), name

    def close(self) -> None:
        self._connection.close()

    def json(self) -> Any:
        return json.loads(self._response.read())

    def event(self) -> Any:
        return json.loads(self._response.readline())

    def rest(self) -> bytes:
        return self._response.read()


def ask(server: ApiServer, recorded: Recording, authorization: str = "") -> closing[Heard]:
    return closing(Heard(server, recorded, authorization))


# -- whole answers -----------------------------------------------------------------------------------


def one_version_earlier(server: ApiServer) -> None:
    server.store.version = 242


WHOLE: dict[str, Callable[[ApiServer], None]] = {
    "services-list": one_version_earlier,
    "services-list-selected": lambda _: None,
    "services-list-page1": lambda _: None,
    "services-list-page2": lambda _: None,
    "endpointslices-list": lambda _: None,
    "nodes-list-own": lambda _: None,
    "servicecidrs-list": lambda _: None,
    "node-get": lambda _: None,
    "not-found": lambda _: None,
    "bad-resource-version": lambda _: None,
    "forbidden-anonymous": lambda server: server.tokens.add("good"),
    "services-list-exact-expired": lambda server: server.store.compact(),
}
"""What has to be so on the server for each; the bodies are equal in every field."""


@pytest.mark.parametrize("name", WHOLE)
def test_the_body_is_the_recorded_one(server: ApiServer, name: str) -> None:
    WHOLE[name](server)
    with ask(server, load(name)) as heard:
        assert heard.json() == load(name).json


def test_a_wrong_token_is_unauthorized(server: ApiServer) -> None:
    server.tokens.add("good")
    with ask(server, load("unauthorized"), "Bearer bad") as heard:
        assert heard.json() == load("unauthorized").json


def test_a_bad_continue_token_differs_only_in_gos_words_about_it(server: ApiServer) -> None:
    recorded = load("continue-bad").json
    with ask(server, load("continue-bad")) as heard:
        body = heard.json()
    assert {**body, "message": ""} == {**recorded, "message": ""}
    assert body["message"][:58] == recorded["message"][:58]


def test_the_version_has_the_same_fields_as_far_as_they_are_there(server: ApiServer) -> None:
    with ask(server, load("version")) as heard:
        assert heard.json().keys() <= load("version").json.keys()


# -- watches -----------------------------------------------------------------------------------------


def do(server: ApiServer, event: Json) -> None:
    """What made the real server send this event."""
    item, version = event["object"], version_of(event["object"])
    if event["type"] == "BOOKMARK":
        server.store.version = version
        server.command(BOOKMARK)
    elif event["type"] == "DELETED":
        server.store.delete(item["kind"], item["metadata"]["name"], item["metadata"].get("namespace", ""), version)
    else:
        server.store.put(item, version)


@pytest.mark.parametrize("name", ["services-watch", "endpointslices-watch"])
def test_a_watch_says_the_same(server: ApiServer, name: str) -> None:
    recorded = load(name)
    with ask(server, recorded) as heard:
        server.await_watches(1)
        for event in recorded.events:
            do(server, event)
            assert heard.event() == event
        server.command(END)
        assert heard.rest() == b""


def test_leaving_the_selector_says_the_same(server: ApiServer) -> None:
    recorded = load("services-watch-selector-leave")
    *initial, left, back = recorded.events
    server.store.put(initial[-1]["object"])
    server.store.put(initial[-1]["object"], version_of(initial[-1]["object"]))
    with ask(server, recorded) as heard:
        server.await_watches(1)
        assert [heard.event() for _ in initial] == initial
        other = left["object"] | {"metadata": {**left["object"]["metadata"], "labels": {PROXY_NAME: "other"}}}
        server.store.put(other, version_of(left["object"]))
        assert outline(heard.event()) == outline(left)
        server.store.put(back["object"], version_of(back["object"]))
        assert heard.event() == back


PROXY_NAME = "service.kubernetes.io/service-proxy-name"


def outline(event: Json) -> tuple[str, str, int, bool]:
    """Type, name, version, and whether it shows the state before it left: without the label."""
    metadata = event["object"]["metadata"]
    return event["type"], metadata["name"], version_of(event["object"]), PROXY_NAME in metadata.get("labels", {})


def test_a_streaming_list_says_the_same(server: ApiServer) -> None:
    recorded = load("services-watchlist")
    *items, bookmark = recorded.events
    for event in sorted(items, key=lambda event: version_of(event["object"])):
        server.store.put(event["object"], version_of(event["object"]))
    server.store.version = version_of(bookmark["object"])
    with ask(server, recorded) as heard:
        assert [heard.event() for _ in recorded.events] == recorded.events


def test_a_streaming_list_is_refused_in_the_same_words(server: ApiServer) -> None:
    server.streaming = False
    recorded = load("services-watchlist-unsupported")
    with ask(server, recorded) as heard:
        assert [heard.event()] == recorded.events
        assert heard.rest() == b""


def test_an_expired_version_is_an_event_in_the_same_words(server: ApiServer) -> None:
    server.store.version = 315
    server.store.compact()
    recorded = load("services-watch-expired")
    with ask(server, recorded) as heard:
        assert [heard.event()] == recorded.events
        assert heard.rest() == b""


def test_a_version_too_large_can_be_injected(server: ApiServer) -> None:
    recorded = load("services-watch-version-too-large")
    status = recorded.events[0]["object"]
    server.inject(
        Fault(code=504, reason="Timeout", message=status["message"], as_event=True, retry_after_s=1, watch=True)
    )
    with ask(server, recorded) as heard:
        event = heard.event()
        assert heard.rest() == b""
    del status["details"]["causes"], event["object"]["details"]["causes"]
    assert [event] == [{"type": "ERROR", "object": status}]


def test_a_version_not_reached_is_silence(server: ApiServer) -> None:
    recorded = load("future-resource-version")
    with ask(server, recorded) as heard:
        server.await_watches(1)
        server.put({"kind": "Service", "metadata": {"name": "new", "namespace": "shop"}, "spec": {}})
        server.command(BOOKMARK)
        server.command(END)
        assert heard.rest() == recorded.body == b""


def test_no_recording_is_left_out() -> None:
    assert set(PATHS) == {"Service", "EndpointSlice", "Node", "ServiceCIDR"}
    seen = {
        *WHOLE,
        "unauthorized",
        "continue-bad",
        "version",
        "services-watch",
        "endpointslices-watch",
        "services-watch-selector-leave",
        "services-watchlist",
        "services-watchlist-unsupported",
        "services-watch-expired",
        "services-watch-version-too-large",
        "future-resource-version",
    }
    assert seen == set(names())
