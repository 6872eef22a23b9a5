"""The stand notices what it is there to notice: an answer that is not allowed, and what a process keeps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.machine import Target
from lab.topology import Lab
from tests.e2e.world import HERE, THERE
from tests.faults import footprint
from tests.faults.footprint import SPARE_FILES, nothing_leaked
from tests.faults.stand import PORT
from tests.faults.traffic import Traffic

KEEPERS = {
    "files": f"kept = [open('/dev/null') for _ in range({SPARE_FILES + 1})]",
    "a thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "a program": "import subprocess; kept = subprocess.Popen(['sleep', '600'])",
    "memory": "kept = b'x' * (100 << 20)",
}


@pytest.mark.parametrize("what", KEEPERS)
def test_what_is_kept_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "PATIENCE_S", 0.1)
    program = f"print(flush=True); input(); {KEEPERS[what]}; print(flush=True); input()"
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        heard(process)
        with nothing_leaked(process.pid):
            pass
        with pytest.raises(pytest.fail.Exception, match="something leaked"), nothing_leaked(process.pid):
            heard(process, "go on\n")
        children = footprint.footprint(process.pid).programs
        process.kill()
    for child in children:
        subprocess.run(["kill", child], check=True)


def heard(process: subprocess.Popen[str], order: str = "") -> str:
    """What a program says next, once it has been told something."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order)
    return process.stdout.readline()


@pytest.mark.root
def test_an_answer_that_is_not_allowed_is_noticed_however_soon_it_is_over(lab: Lab) -> None:
    here, there = (f"{pod[0]}:{PORT}" for pod in (HERE, THERE))
    traffic = Traffic(lab.outside, Target(HERE[0], PORT), [], [there])
    with pytest.raises(AssertionError, match=here), traffic.flowing():
        traffic.until([here])
