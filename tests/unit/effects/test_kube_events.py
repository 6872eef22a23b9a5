from __future__ import annotations

import queue
import threading

import pytest

from kproxy.effects.kube_events import WAITING, EventSender
from kproxy.errors import ApiError, ConfigError, KproxyError


class FakeServer:
    """Takes Events; an answer is a status, or an error to raise."""

    def __init__(self, *answers: int | KproxyError) -> None:
        self.answers = list(answers)
        self.seen: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.closed = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def post(self, target: str, body: bytes) -> int:
        self.go.wait()
        self.seen.put(f"{target} {body.decode()}")
        answer = self.answers.pop(0) if self.answers else 201
        if isinstance(answer, KproxyError):
            raise answer
        return answer

    def close(self) -> None:
        self.closed.set()


def test_events_are_sent_in_order_and_the_server_is_closed_in_the_end() -> None:
    server = FakeServer()
    complaints: list[KproxyError] = []
    sender = EventSender(lambda: server, complaints.append)
    sender.start()
    sender.send("/a", b"1")
    sender.send("/b", b"2")
    assert [server.seen.get(timeout=5) for _ in range(2)] == ["/a 1", "/b 2"]
    sender.stop()
    assert server.closed.wait(5)
    assert complaints == []


@pytest.mark.parametrize("answer", [403, 500, ApiError("gone")])
def test_what_is_refused_is_told_and_the_next_is_sent(answer: int | KproxyError) -> None:
    server = FakeServer(answer)
    complaints: queue.SimpleQueue[KproxyError] = queue.SimpleQueue()
    sender = EventSender(lambda: server, complaints.put)
    sender.start()
    sender.send("/a", b"1")
    sender.send("/b", b"2")
    assert isinstance(complaints.get(timeout=5), ApiError)
    assert [server.seen.get(timeout=5) for _ in range(2)] == ["/a 1", "/b 2"]
    sender.stop()
    assert complaints.empty()


def test_a_server_that_cannot_be_opened_is_told() -> None:
    complaints: queue.SimpleQueue[KproxyError] = queue.SimpleQueue()

    def unknown() -> FakeServer:
        raise ConfigError("no kubeconfig")

    sender = EventSender(unknown, complaints.put)
    sender.start()
    sender.send("/a", b"1")
    assert str(complaints.get(timeout=5)) == "no kubeconfig"
    sender.stop()


def test_a_flood_is_dropped_and_holds_nobody_up() -> None:
    server = FakeServer()
    server.go.clear()
    sender = EventSender(lambda: server, lambda _error: None)
    sender.start()
    for number in range(3 * WAITING):
        sender.send("/flood", str(number).encode())
    server.go.set()
    for _ in range(WAITING):
        server.seen.get(timeout=5)
    sender.stop()
    assert server.seen.qsize() <= 1
