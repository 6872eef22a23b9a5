"""The door that starts programs."""

from __future__ import annotations

import os
import resource
import select
import subprocess
import sys
from pathlib import Path

import pytest

from kproxy.effects.process import ProcessFailed, ProcessTimeout, Result, run
from kproxy.errors import UnsupportedHost


def test_a_program_gets_its_input_and_gives_outputs_and_status() -> None:
    assert run(["cat"], "grüß\n", 5) == Result(0, "grüß\n", "")
    assert run(["sh", "-c", "echo no >&2; exit 3"], "", 5) == Result(3, "", "no\n")


def test_bytes_that_are_no_text_do_not_matter() -> None:
    assert run(["printf", "\\377x"], "", 5).output == "\ufffdx"


def test_arguments_are_words_and_never_commands() -> None:
    hostile = "$(id); `id` && id | id > /tmp/x\n'\""
    assert run(["printf", "%s", hostile], "", 5).output == hostile


def test_the_environment_is_what_a_program_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/nowhere.so")
    monkeypatch.setenv("KUBECONFIG", "/secret")
    seen = dict(line.split("=", 1) for line in run(["env"], "", 5).output.splitlines())
    assert seen["LC_ALL"] == "C"
    assert seen.keys() == {"LC_ALL", "PATH"}
    assert seen["PATH"].startswith(os.environ["PATH"])


def test_the_sbin_directories_are_searched_whatever_path_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert run(["true"], "", 5).status == 0


@pytest.mark.parametrize("name", ["kproxy-no-such-program", "/etc/passwd"])
def test_a_program_that_cannot_be_started_says_which_and_why(name: str) -> None:
    with pytest.raises(UnsupportedHost, match=f"{name} cannot be started: "):
        run([name], "", 5)


def test_a_program_that_does_not_end_is_killed() -> None:
    with pytest.raises(ProcessTimeout, match=r"sleep did not end within 0\.05 s and was killed"):
        run(["sleep", "60"], "", 0.05)


def assert_nobody_writes(reader: int) -> None:
    """Wait until nobody has the other end of the pipe open."""
    poll = select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    assert poll.poll(30_000) == [(reader, select.POLLHUP)]


def test_what_a_wrapper_has_started_is_killed_with_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ProcessTimeout):
            run(["sh", "-c", f"sleep 600 >{pipe} & wait"], "", 1)
        assert_nobody_writes(reader)
    finally:
        os.close(reader)


def test_a_program_that_cannot_be_started_for_want_of_descriptors_may_be_later() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path("/dev/null").open() as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, limit[1]))
        try:
            with pytest.raises(ProcessFailed, match="true cannot be started now: Too many open files"):
                run(["true"], "", 5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert run(["true"], "", 60).status == 0


HANGING = """
import sys, threading
from kproxy.effects.process import run
threading.Thread(target=run, args=(["sh", "-c", f"sleep 600 >{sys.argv[1]}"], "", 600), daemon=True).start()
open(sys.argv[1], "rb")  # there is somebody who writes
"""


def test_what_still_runs_in_a_thread_ends_with_us(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        subprocess.run([sys.executable, "-W", "ignore", "-c", HANGING, str(pipe)], check=True, timeout=60)
        assert_nobody_writes(reader)
    finally:
        os.close(reader)
