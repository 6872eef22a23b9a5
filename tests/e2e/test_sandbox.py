"""`scripts/run` as a user starts it: it shows what it promises, and leaves the host as it was.

The host is a network and mount namespace of the test's own, so that whatever
else runs on this machine cannot be mistaken for what the sandbox left.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import ROOT

pytestmark = pytest.mark.root

SHOW = ("ip -o link", "ip -o address", "ip rule", "ip route show table all", "ip netns list", "nft list ruleset")
HOST = "mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && exec sleep 600"
COUNT = re.compile(r"(\d+) █")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[list[str]]:
    """The command that runs another one on the host."""
    with subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", HOST], cwd=tmp_path) as process:
        enter = ["nsenter", f"--target={process.pid}", "--net", "--mount", "--root", f"--wdns={ROOT}"]
        wait_for_host(process.pid)
        yield enter
        process.kill()


def wait_for_host(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
        assert time.monotonic() < deadline
        os.sched_yield()


def fingerprint(host: list[str], temporary: Path) -> list[str]:
    shown = [subprocess.run([*host, *command.split()], capture_output=True, text=True, check=True) for command in SHOW]
    return [*(one.stdout for one in shown), *sorted(path.name for path in temporary.iterdir())]


def environment(temporary: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(temporary), "TERM": "dumb"}


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_the_sandbox_shows_who_answers_and_leaves_nothing(host: list[str], backend: str, tmp_path: Path) -> None:
    before = fingerprint(host, tmp_path)
    done = subprocess.run(
        [*host, "scripts/run", "--backend", backend],
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path),
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert fingerprint(host, tmp_path) == before
    assert max(len(line) for line in done.stdout.splitlines() if ".venv/bin/kproxy" not in line) <= 80
    first, second = done.stdout.split("The same requests again")
    check_tables(first, second)


def check_tables(first: str, second: str) -> None:
    for wanted in ("ClusterIP 10.96.0.80:80", "NodePort 192.0.2.11:30080", "LoadBalancer 198.51.100.80:80"):
        assert wanted in first
        assert wanted in second
    # Three frontends of 60 requests each, then policy Local, a client outside the ranges, and a pod that goes outside.
    assert sum(map(int, COUNT.findall(first))) == 3 * 60 + 60 + 3 + 60
    assert sum(map(int, COUNT.findall(second))) == 3 * 60
    assert first.count("10.64.1.11:8080") == 3
    assert "10.64.1.11:8080" not in second
    assert re.search(r"60 █+ +203\.0\.113\.7 client", first)
    assert re.search(r"nobody +3 █", first)
    assert re.search(r"203\.0\.113\.7:8080 +60 █+ +192\.0\.2\.11 node", first)


@pytest.mark.parametrize("until", ["network namespaces", "are programmed"])
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sandbox_leaves_nothing(
    host: list[str], way: signal.Signals, until: str, tmp_path: Path
) -> None:
    before = fingerprint(host, tmp_path)
    with subprocess.Popen(
        [*host, "scripts/run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(tmp_path),
        start_new_session=True,
    ) as process:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if until in line:
                break
        os.killpg(process.pid, way)  # as a terminal does: everyone is told
        said += process.stdout.readlines()
        status = process.wait(15)
    assert "Traceback" not in "".join(said)
    assert status == 128 + way
    assert fingerprint(host, tmp_path) == before
    deadline = time.monotonic() + 5  # one that was just being started sees the end of its input once it runs
    while session_members(process.pid):
        assert time.monotonic() < deadline, session_members(process.pid)
        time.sleep(0.05)


def session_members(session: int) -> list[str]:
    """The commands of processes that belong to a session."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().rpartition(")")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(rest.split()[3]) == session:
                members.append(name)
    return members


def test_a_user_who_is_not_root_is_told_so(tmp_path: Path) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", ".venv/bin/python", "-B", "-m", "lab.sandbox"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(tmp_path),
    )
    assert (done.returncode, done.stderr) == (1, "scripts/run: network namespaces need root: run this with sudo\n")


def test_without_root_it_says_so_before_it_touches_anything() -> None:
    # The script from standard input: an ordinary user need not be able to read this directory.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-s"]
    text = (ROOT / "scripts" / "run").read_text()
    done = subprocess.run(nobody, input=text, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "scripts/run: it makes network namespaces, which needs root: sudo scripts/run\n"
