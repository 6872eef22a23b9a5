"""The programs that answer and probe where there is no inhabitant: in virtual machines, by ssh."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from lab import REJECT
from lab.machine import ROOT, Machine, Target

PATIENCE_S = 60.0


@pytest.mark.root
def test_one_answers_and_the_other_asks() -> None:
    ask = ("env", "-C", str(ROOT), sys.executable, "-m", "lab.once")
    order = json.dumps({"probes": [vars(Target(to, 8080, count=2)) for to in ("127.0.0.1", "::1")]})
    with Machine("alone") as machine:
        machine.ip(["link set lo up"])
        assert json.loads(machine.run(*ask, stdin=order)) == [{REJECT: 2}, {REJECT: 2}]
        server = machine.start(
            "env", "-C", str(ROOT), sys.executable, "-m", "lab.serve", "8080", output=subprocess.DEVNULL
        )
        try:
            wanted = [{"127.0.0.1:8080 127.0.0.1": 2}, {"[::1]:8080 ::1": 2}]
            deadline = time.monotonic() + PATIENCE_S
            while (found := json.loads(machine.run(*ask, stdin=order))) != wanted and time.monotonic() < deadline:
                assert server.poll() is None
            assert found == wanted
        finally:
            server.terminate()
            server.wait()
