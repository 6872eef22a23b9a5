"""KubernetesSource against the fake API server over real sockets, while things go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy.core.model import Kind, Replaced
from kproxy.errors import ApiDenied, ApiError, ApiExpired
from tests.contract.following import NODE, Following
from tests.fakes.apiobjects import endpoint_slice, node, service, service_cidr
from tests.fakes.apiserver import CUT, END, ApiServer, Fault

FOUR = 4
SERVICES = "/api/v1/services"
CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(node(NODE), service_cidr(), service("cart"), endpoint_slice("cart", ["10.64.1.5"]))
        yield server


def web() -> dict[str, object]:
    return service("web", cluster_ip="10.96.0.21")


def test_a_stream_that_is_cut_in_the_middle_of_an_object_is_taken_up_where_it_was(
    server: ApiServer, tmp_path: Path
) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        server.await_watches(FOUR)
        assert not following.began
        server.command(CUT)
        server.put(web())
        following.await_services("cart", "web")
        following.await_that(lambda: following.failed(ApiError))
        assert sum(isinstance(event, Replaced) for event in following.events) == FOUR
        following.await_that(lambda: set(following.began) == set(Kind))


def test_a_stream_that_ends_properly_but_in_the_middle_of_a_line_is_reported_as_cut(
    server: ApiServer, tmp_path: Path
) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        server.await_watches(FOUR)
        server.command(b'{"type":"MODIFIED","object":{"metadata":{"name":"half')
        server.command(END)
        server.put(web())
        following.await_services("cart", "web")
        following.await_that(lambda: any("middle of a line" in str(error) for error in following.errors))


@pytest.mark.parametrize("cut_after_bytes", [0, 1, 200, 600])
@pytest.mark.parametrize("streaming", [True, False])
def test_a_list_that_is_cut_is_never_taken_for_complete(
    server: ApiServer, tmp_path: Path, cut_after_bytes: int, *, streaming: bool
) -> None:
    server.streaming = streaming
    server.put(web())
    server.inject(Fault(SERVICES, watch=streaming, cut_after_bytes=cut_after_bytes))
    with Following(server, tmp_path) as following:
        following.await_complete()
        listed = [event for event in following.events if isinstance(event, Replaced) and event.kind is Kind.SERVICE]
        assert [len(event.items) for event in listed] == [2]
        following.await_that(lambda: following.failed(ApiError))


def test_a_server_that_restarts_is_found_again_and_what_was_missed_is_caught_up(
    server: ApiServer, tmp_path: Path
) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        server.await_watches(FOUR)
        server.stop()
        following.await_that(lambda: len(following.errors) > FOUR)
        server.put(web())
        server.delete("Service", "cart", "shop")
        server.start()
        following.await_services("web")


def test_a_server_that_forgot_the_version_is_listed_anew(server: ApiServer, tmp_path: Path) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        server.await_watches(FOUR)
        server.stop()
        following.await_that(lambda: len(following.errors) > FOUR)
        server.delete("Service", "cart", "shop")
        server.put(web())
        server.store.compact()
        server.start()
        following.await_services("web")
        following.await_that(lambda: following.failed(ApiExpired))


def test_a_storm_of_410_ends_in_the_servers_state_with_waits_in_between(server: ApiServer, tmp_path: Path) -> None:
    server.inject(*[Fault(SERVICES, watch=True, code=410, reason="Expired", as_event=True) for _ in range(5)])
    server.inject(*[Fault(SERVICES, watch=False, code=410, reason="Expired") for _ in range(3)])
    with Following(server, tmp_path) as following:
        following.await_complete()
        following.await_services("cart")
        server.put(web())
        following.await_services("cart", "web")
        assert following.failed(ApiExpired)
    asked = [request for request in server.requests if request.path == SERVICES]
    assert len(asked) <= 8 + 3


def test_a_token_that_is_refused_is_read_again_from_the_kubeconfig(tmp_path: Path) -> None:
    with ApiServer({"good"}) as server:
        server.put(node(NODE), service_cidr(), service("cart"))
        with Following(server, tmp_path, token="bad") as following:
            following.await_that(lambda: len(following.errors) >= FOUR)
            assert {type(error) for error in following.errors} == {ApiDenied}
            assert not following.snapshot.complete
            following.write_kubeconfig(server, "good")
            following.await_complete()
            server.tokens = {"newer"}
            server.command(CUT)
            following.await_that(lambda: following.failed(ApiDenied))
            following.write_kubeconfig(server, "newer")
            server.put(web())
            following.await_services("cart", "web")
        assert not [error for error in following.errors if "good" in str(error) or "newer" in str(error)]


def test_who_has_no_token_is_anonymous_and_told_so(tmp_path: Path) -> None:
    with ApiServer({"good"}) as server, Following(server, tmp_path) as following:
        following.await_that(lambda: following.failed(ApiDenied))
        assert "403 Forbidden" in str(following.errors[0])
        assert "system:anonymous" in str(following.errors[0])


def test_a_kubeconfig_that_vanished_is_reported_and_tried_again(tmp_path: Path) -> None:
    with ApiServer({"good"}) as server:
        server.put(node(NODE), service_cidr(), service("cart"))
        with Following(server, tmp_path, token="bad") as following:
            following.kubeconfig.unlink()
            following.await_that(lambda: any("there is no such file" in str(error) for error in following.errors))
            following.write_kubeconfig(server, "good")
            following.await_complete()


def test_an_older_server_without_servicecidrs_has_none(server: ApiServer, tmp_path: Path) -> None:
    server.missing.add(CIDRS)
    with Following(server, tmp_path) as following:
        following.await_complete()
        assert following.snapshot.service_cidrs == {}
        assert following.errors == []
        assert sum(request.path == CIDRS for request in server.requests) == 1


def test_a_server_wish_to_wait_is_honoured(server: ApiServer, tmp_path: Path) -> None:
    server.inject(Fault(SERVICES, code=429, reason="TooManyRequests", retry_after_s=30))
    with Following(server, tmp_path) as following:
        following.await_complete()
        wishes = [error.retry_after_s for error in following.errors if isinstance(error, ApiError)]
        assert wishes == [30.0]


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b"{}\n", b'{"type":"ADDED","object":\n', b'\xff\xfe\n{"type":"BOOKMARK"}\n', b"[" * 100_000 + b"\n"],
)
def test_a_line_that_is_no_event_leads_to_a_new_list(server: ApiServer, tmp_path: Path, line: bytes) -> None:
    with Following(server, tmp_path) as following:
        following.await_complete()
        server.await_watches(FOUR)
        server.command(line)
        following.await_that(lambda: sum(isinstance(event, Replaced) for event in following.events) == 2 * FOUR)
        server.put(web())
        following.await_services("cart", "web")


def test_a_fault_of_our_own_is_reported_and_the_kind_listed_again(server: ApiServer, tmp_path: Path) -> None:
    following = Following(server, tmp_path)
    put, calls = following._put, []

    def put_badly(events: object) -> None:
        calls.append(events)
        if len(calls) == 1:
            raise RuntimeError("a fault of our own")
        put(events)  # type: ignore[arg-type]

    following._put = put_badly  # type: ignore[method-assign]
    with following:
        following.await_complete()
        assert following.failed(RuntimeError)


def test_stop_does_not_wait_for_a_server_that_never_answers(server: ApiServer, tmp_path: Path) -> None:
    server.inject(*[Fault(hang=True) for _ in range(FOUR)])
    following = Following(server, tmp_path)
    with following:
        server.await_that(lambda: len(server.requests) == FOUR)
        assert following.stop() < 2.0
    assert following.events == []
