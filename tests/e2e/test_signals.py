"""A signal ends an agent that waits for nothing but events, whichever of its threads the kernel gives it to."""

from __future__ import annotations

import ctypes
import signal
from pathlib import Path

import pytest

from tests.e2e.pages import PATIENCE_S, is_ready, until
from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import running

pytestmark = pytest.mark.root

SHOP = Path(__file__).parents[1] / "data" / "manifests" / "shop"


def hit_another_thread(process: int, number: signal.Signals) -> None:
    """Send a signal to one of a process' threads but its main one (tgkill(2)); some may have ended meanwhile."""
    tgkill = ctypes.CDLL(None).tgkill
    others = (int(path.name) for path in Path(f"/proc/{process}/task").iterdir() if path.name != str(process))
    assert any(tgkill(process, thread, number) == 0 for thread in others)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_another_thread_gets_ends_the_agent(number: signal.Signals) -> None:
    def life() -> tuple[int, str]:
        with running("run", "--backend", "nftables", "--source", str(SHOP), "--node-name", "node-a") as process:
            until(is_ready)
            hit_another_thread(process.pid, number)
            status = process.wait(PATIENCE_S)
            assert process.stderr is not None
            return status, process.stderr.read()

    status, log = in_new_namespace(life)
    assert status == 0
    assert "stopped, the rules stay" in log
    assert number.name in log
