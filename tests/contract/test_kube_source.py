"""KubernetesSource against the fake API server over real sockets, while all is well."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy.core.instance import Instance
from kproxy.core.model import Deleted, Kind, Replaced
from kproxy.core.values import ObjectKey
from kproxy.errors import ParseError
from tests.contract.following import NODE, Following
from tests.fakes.apiobjects import address, endpoint_slice, node, service, service_cidr
from tests.fakes.apiserver import BOOKMARK, END, ApiServer

FOUR = 4


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(node(NODE), node("node-b"), service_cidr(), service("cart"), endpoint_slice("cart", ["10.64.1.5"]))
        yield server


@pytest.mark.parametrize("streaming", [True, False])
def test_lists_are_complete_before_anything_else_and_changes_follow(
    server: ApiServer, tmp_path: Path, *, streaming: bool
) -> None:
    server.streaming = streaming
    with Following(server, tmp_path) as following:
        following.await_complete()
        assert following.snapshot.synced
        assert [type(event) for event in following.events] == [Replaced] * FOUR
        assert set(following.snapshot.nodes) == {ObjectKey("", NODE)}
        server.put(service("web", cluster_ip="10.96.0.21"))
        following.await_services("cart", "web")
        server.put(endpoint_slice("cart", ["10.64.1.5", "10.64.1.6"]))
        key = ObjectKey("shop", "cart")
        following.await_that(lambda: len(following.snapshot.slices[key]["cart-1"].endpoints) == 2)
        server.delete("Service", "cart", "shop")
        following.await_services("web")
        assert following.errors == []


def test_the_server_is_asked_with_the_selectors_of_a_service_proxy(server: ApiServer, tmp_path: Path) -> None:
    server.put(service("headless", cluster_ip="None"))
    with Following(server, tmp_path) as following:
        following.await_complete()
        following.await_services("cart")
    asked = {request.path: request.query for request in server.requests}
    assert asked["/api/v1/services"]["fieldSelector"] == "spec.clusterIP!=None"
    assert asked["/api/v1/services"]["labelSelector"] == "!service.kubernetes.io/service-proxy-name"
    slices = "/apis/discovery.k8s.io/v1/endpointslices"
    assert asked[slices]["labelSelector"] == "!service.kubernetes.io/headless"
    assert asked["/api/v1/nodes"]["fieldSelector"] == f"metadata.name={NODE}"


def test_a_service_that_another_proxy_claims_is_gone_until_it_comes_back(server: ApiServer, tmp_path: Path) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        claimed = service("cart")
        claimed["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
        server.put(claimed)
        following.await_services()
        assert Deleted(Kind.SERVICE, ObjectKey("shop", "cart")) in following.events
        server.put(service("cart"))
        following.await_services("cart")


def test_an_instance_follows_what_is_labelled_for_it_and_lets_go_of_what_is_not_any_more(
    server: ApiServer, tmp_path: Path
) -> None:
    def label(name: str, whose: str) -> None:
        labelled = service(name, cluster_ip="10.96.0.21")
        labelled["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": whose}
        server.put(labelled)

    label("web", "edge")
    label("other", "edge-2")
    with Following(server, tmp_path, instance=Instance("edge")) as edge, Following(server, tmp_path) as plain:
        for following, seen in ((edge, "web"), (plain, "cart")):
            following.await_complete()
            following.await_services(seen)
        label("web", "edge-2")
        label("other", "edge")
        edge.await_services("other")
        assert plain.names() == {"cart"}
        assert edge.snapshot.slices == plain.snapshot.slices
        assert edge.errors == plain.errors == []
    asked = {request.query.get("labelSelector") for request in server.requests if request.path == "/api/v1/services"}
    assert asked == {
        f"{start}service.kubernetes.io/service-proxy-name{end}" for start, end in (("!", ""), ("", "=edge"))
    }


def test_long_lists_come_in_pages(server: ApiServer, tmp_path: Path) -> None:
    server.streaming = False
    for number in range(1200):
        server.put(service(f"s{number:04}", cluster_ip=address(10, 96, 100 + number)))
    with Following(server, tmp_path) as following:
        following.await_that(lambda: len(following.snapshot.services) == 1201)
        assert sum(isinstance(event, Replaced) and event.kind is Kind.SERVICE for event in following.events) == 1
    pages = [r.query for r in server.requests if r.path == "/api/v1/services" and not r.is_watch]
    assert [page.get("limit") for page in pages] == ["500"] * 3
    assert ["continue" in page for page in pages] == [False, True, True]


def test_a_watch_that_ends_is_taken_up_at_its_bookmark(server: ApiServer, tmp_path: Path) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        server.await_watches(FOUR)
        server.put(node("node-c"))
        latest = str(server.store.version)
        server.command(BOOKMARK)
        server.command(END)
        server.await_that(
            lambda: sum(request.query.get("resourceVersion") == latest for request in server.requests) == FOUR
        )
        server.put(service("web", cluster_ip="10.96.0.21"))
        following.await_services("cart", "web")
        assert sum(isinstance(event, Replaced) for event in following.events) == FOUR


def test_an_object_beyond_use_is_named_and_harms_no_other(server: ApiServer, tmp_path: Path) -> None:
    server.put(service("bad", ports=[{"port": 70000}]))
    with Following(server, tmp_path) as following:
        following.await_complete()
        following.await_services("cart")
        following.await_that(lambda: following.failed(ParseError))
        assert "shop/bad" in str(following.errors[0])
        server.put(service("bad", cluster_ip="10.96.0.22"))
        following.await_services("bad", "cart")


def test_a_very_long_event_arrives_whole(server: ApiServer, tmp_path: Path) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        big = service("web", cluster_ip="10.96.0.21")
        big["metadata"]["annotations"] = {"note": "x" * 3_000_000}
        server.put(big)
        following.await_services("cart", "web")


def test_stop_is_prompt_while_every_watch_is_blocked(server: ApiServer, tmp_path: Path) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        server.await_watches(FOUR)
        assert following.stop() < 2.0
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("kube-")]
        assert following.errors == []
