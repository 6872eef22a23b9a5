from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from kproxy.effects.http import (
    CONNECTIONS,
    HEADER_BYTES,
    HttpServer,
    bind_abstract,
    bind_tcp,
    serving,
)
from kproxy.effects.page import Page, Request, Site

COMPLAINTS: list[Exception] = []


@pytest.fixture
def server() -> Iterator[HttpServer]:
    COMPLAINTS.clear()
    with serving("test", COMPLAINTS.append) as running:
        yield running


def fail(_request: Request) -> Page:
    raise ValueError("by intent")


SITE = Site(
    {
        "/": lambda request: Page(f"root {request.path}?{request.query}".encode()),
        "/exact": lambda _: Page(b"exact", "application/json", HTTPStatus.SERVICE_UNAVAILABLE, (("X-Extra", "1"),)),
        "/deep/": lambda request: Page(f"deep {request.path}".encode()),
        "/fails": fail,
    }
)


def open_site(server: HttpServer, address: str = "127.0.0.1") -> int:
    bound = bind_tcp(address, 0)
    port: int = bound.getsockname()[1]
    server.listen(bound, SITE)
    return port


def get(port: int, path: str, method: str = "GET", address: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(address, port, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/exact", b"exact"),
        ("/deep/a/b", b"deep /deep/a/b"),
        ("/deep", b"root /deep?"),
        ("/other?a=1&b", b"root /other?a=1&b"),
        ("/d%C3%A4mmerung", "root /dämmerung?".encode()),
    ],
)
def test_the_longest_path_that_fits_answers(server: HttpServer, path: str, expected: bytes) -> None:
    assert get(open_site(server), path)[2] == expected


def test_nothing_fits() -> None:
    assert Site({"/a": SITE})(Request("/b")).status is HTTPStatus.NOT_FOUND


def test_status_and_headers_are_the_pages_and_the_software_is_not_named(server: HttpServer) -> None:
    status, headers, _ = get(open_site(server), "/exact")
    assert status == 503
    del headers["Date"]
    assert headers == {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Extra": "1",
        "Content-Length": "5",
    }


def test_head_has_no_body_and_other_methods_are_refused(server: HttpServer) -> None:
    port = open_site(server)
    status, headers, body = get(port, "/exact", "HEAD")
    assert (status, headers["Content-Length"], body) == (503, "5", b"")
    assert get(port, "/exact", "DELETE")[:2][0] == 405


def test_a_page_that_fails_is_500_and_told_and_the_next_is_answered(server: HttpServer) -> None:
    port = open_site(server)
    assert get(port, "/fails")[0] == 500
    assert [str(error) for error in COMPLAINTS] == ["by intent"]
    assert get(port, "/exact")[0] == 503


def test_sockets_open_and_close_while_others_answer(server: HttpServer) -> None:
    first = open_site(server)
    bound = bind_tcp("127.0.0.1", 0)
    second: int = bound.getsockname()[1]
    close = server.listen(bound, SITE)
    assert get(second, "/exact")[2] == b"exact"
    close()
    while True:
        try:
            get(second, "/exact")
        except OSError:
            break
    assert get(first, "/exact")[2] == b"exact"
    again = bind_tcp("127.0.0.1", second)
    server.listen(again, SITE)
    assert get(second, "/exact")[2] == b"exact"


def test_both_families_listen_on_one_port_apart(server: HttpServer) -> None:
    port = open_site(server, "::1")
    server.listen(bind_tcp("127.0.0.1", port), Site({"/": lambda _: Page(b"four")}))
    assert get(port, "/exact", address="::1")[2] == b"exact"
    assert get(port, "/exact")[2] == b"four"


def test_a_header_without_end_is_refused(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", open_site(server)), timeout=60) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * HEADER_BYTES)
        assert client.recv(100).startswith(b"HTTP/1.0 431 ")


def test_idle_connections_do_not_grow_without_limit(server: HttpServer) -> None:
    port = open_site(server)
    idle = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS + 10)]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as late:
            late.sendall(b"GET /exact HTTP/1.0\r\n\r\n")
            idle_fds = len(list(Path("/proc/self/fd").iterdir()))
            for client in idle:
                client.close()
            assert late.recv(100).startswith(b"HTTP/1.0 503 ")
            assert idle_fds < 3 * CONNECTIONS
    finally:
        for client in idle:
            client.close()


def test_a_local_name_is_one_process_alone(server: HttpServer) -> None:
    name = f"kproxy-test-{os.getpid()}"
    server.listen(bind_abstract(name), SITE)
    with pytest.raises(OSError, match="in use"):
        bind_abstract(name)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(f"\0{name}")
        client.sendall(b"GET /exact HTTP/1.0\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.0 503 ")


def test_closing_ends_threads_and_frees_the_port() -> None:
    before = set(threading.enumerate())
    with serving("short", COMPLAINTS.append) as server:
        port = open_site(server)
        get(port, "/exact")
    assert not [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    bind_tcp("127.0.0.1", port).close()


PART = "x" * 65536
PARTS = 2048


def long_page(made: list[int]) -> Page:
    def parts() -> Iterator[str]:
        for number in range(PARTS):
            made.append(number)
            yield PART

    return Page(parts=parts)


def test_a_long_answer_is_made_as_it_is_taken(server: HttpServer) -> None:
    made: list[int] = []
    bound = bind_tcp("127.0.0.1", 0)
    server.listen(bound, Site({"/": lambda _: long_page(made)}))
    connection = http.client.HTTPConnection(*bound.getsockname(), timeout=60)
    connection.request("GET", "/")
    answer, taken, most_ahead = connection.getresponse(), 0, 0
    while piece := answer.read(len(PART)):
        taken += len(piece)
        most_ahead = max(most_ahead, len(made) * len(PART) - taken)
    connection.close()
    assert (taken, answer.getheader("Transfer-Encoding")) == (PARTS * len(PART), "chunked")
    assert most_ahead < PARTS * len(PART) / 2  # what sockets hold, and a little more


def test_an_answer_that_fails_on_its_way_breaks_off_and_is_told(server: HttpServer) -> None:
    def parts() -> Iterator[str]:
        yield PART
        raise ValueError("half way")

    bound = bind_tcp("127.0.0.1", 0)
    server.listen(bound, Site({"/": lambda _: Page(parts=parts)}))
    with pytest.raises(http.client.IncompleteRead):
        get(bound.getsockname()[1], "/")
    assert [str(error) for error in COMPLAINTS] == ["half way"]


def test_clients_that_do_not_take_their_answers_hold_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kproxy.effects.http.UNTAKEN_S", 0.2)
    monkeypatch.setattr("kproxy.effects.http.LOOK_S", 0.1)
    made: list[int] = []
    with serving("test", COMPLAINTS.append) as server:
        bound = bind_tcp("127.0.0.1", 0)
        server.listen(bound, Site({"/": lambda _: long_page(made), "/short": lambda _: Page(b"short")}))
        port: int = bound.getsockname()[1]
        stalled = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(3)]
        try:
            for client in stalled:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert get(port, "/short")[2] == b"short"
        finally:
            for client in stalled:
                client.close()
