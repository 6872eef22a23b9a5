from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kproxy.effects import profiling
from kproxy.effects.profiling import Busy, memory_summary, processor_profile, thread_stacks


@contextmanager
def spinning() -> Iterator[None]:
    """A thread that never rests."""
    ended = threading.Event()

    def spin_for_the_profile() -> None:
        while not ended.is_set():
            pass

    thread = threading.Thread(target=spin_for_the_profile, name="spinner")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_processor_time_is_put_down_to_the_stack_that_uses_it() -> None:
    with spinning():
        stacks = processor_profile(0.5)
    spun = sum(
        used for stack, used in stacks.items() if stack.startswith("spinner;") and "spin_for_the_profile" in stack
    )
    assert spun > 0
    assert not [stack for stack in stacks if stack.startswith(f"{threading.current_thread().name};")]


def test_one_profile_at_a_time_and_none_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "LONGEST_S", 0.0)
    assert not processor_profile(1e9)
    assert not processor_profile(float("nan"))
    with profiling._taking, pytest.raises(Busy):
        processor_profile(0)


def test_threads_and_memory_are_told() -> None:
    with spinning():
        lines = list(thread_stacks())
    assert "spinner" in lines
    assert any("spin_for_the_profile" in line for line in lines)
    summary = list(memory_summary())
    assert summary[0].startswith("VmHWM: ")
    assert any(line.endswith(" builtins.dict") for line in summary)
