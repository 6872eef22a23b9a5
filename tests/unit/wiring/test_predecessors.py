"""Looking for leftovers of other backends does not hold up the end."""

from __future__ import annotations

import io
import threading

from kproxy.agent import State
from kproxy.effects.logs import make_logger
from kproxy.wiring.predecessors import Predecessors


def test_stopping_does_not_wait_for_what_hangs() -> None:
    hanging, over = threading.Event(), threading.Event()

    def state() -> State:
        hanging.set()
        over.wait(60.0)
        raise SystemExit  # which ends a thread without a word

    looking = Predecessors(state, make_logger("json", 0, io.StringIO()))
    looking.start()
    hanging.wait()
    looking.stop()
    assert looking._thread.is_alive()
    over.set()
    looking._thread.join()
