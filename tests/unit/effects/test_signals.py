from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from kproxy.effects.signals import signals_told

WAIT_S = 60.0


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals whose handler has run."""
    numbers: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        numbers.append(number)

    before = signal.signal(signal.SIGUSR1, handle)
    yield numbers
    signal.signal(signal.SIGUSR1, before)


def signal_elsewhere() -> None:
    """A signal that another thread gets, so that no wait of the main thread is interrupted by it."""

    def hit() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    threading.Thread(target=hit).start()


def test_a_signal_that_interrupts_no_wait_is_told(handled: list[int]) -> None:
    inbox: queue.SimpleQueue[str] = queue.SimpleQueue()
    with signals_told(lambda: inbox.put("told")):
        signal_elsewhere()
        assert inbox.get(timeout=WAIT_S) == "told"
    assert handled == [signal.SIGUSR1]


def test_afterwards_nobody_is_told(handled: list[int]) -> None:
    told: list[str] = []
    threads = threading.active_count()
    with signals_told(lambda: told.append("told")):
        pass
    signal.raise_signal(signal.SIGUSR1)
    assert (handled, told, threading.active_count()) == ([signal.SIGUSR1], [], threads)
