"""Looking for leftovers of other backends does not hold up the end."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence

import pytest

from kproxy.effects.logs import make_logger
from kproxy.errors import KproxyError
from kproxy.wiring import predecessors
from tests.fakes.stage import Stage


def test_stopping_does_not_wait_for_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, over = threading.Event(), threading.Event()

    def hang(*_: object) -> Sequence[object]:
        hanging.set()
        over.wait(60.0)
        raise KproxyError("killed in the end")

    monkeypatch.setattr(predecessors, "predecessors", hang)
    stage = Stage()
    looking = predecessors.Predecessors(lambda: stage.agent.state, make_logger("json", 0, io.StringIO()))
    looking.start()
    assert hanging.wait(60.0)
    looking.stop()
    assert looking._thread.is_alive()
    over.set()
    looking._thread.join()
