"""iptables-restore that refuses, hangs or is gone, and a kernel that others change meanwhile: a sync fails, no more."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.agent import agent
from lab.topology import Lab
from tests.e2e.pages import until
from tests.e2e.world import fresh_vip
from tests.faults.footprint import footprint
from tests.faults.stand import Stand, stand
from tests.faults.wrapper import COMPLAINT, Wrapper, wrapped

pytestmark = pytest.mark.root

FAILED = "sync failed, the rules are as they were"
RESTORES = ("iptables-restore", "iptables-nft-restore")
PROGRAMS = "/usr/sbin"
"""Where all programs of iptables are."""


@pytest.fixture
def programs(tmp_path: Path) -> Wrapper:
    return wrapped(tmp_path / "programs", *RESTORES)


@pytest.fixture
def node(lab: Lab, tmp_path: Path, programs: Wrapper) -> Iterator[Stand]:
    through = ("env", f"PATH={programs.path}")
    with stand(lab, tmp_path, fresh_vip(), backend="iptables", through=through) as made:
        yield made


def failed(node: Stand, since: int, reason: str) -> None:
    """Wait until a sync has failed for that reason."""

    def is_told(one: dict[str, object]) -> bool:
        return one["event"] == FAILED and reason in str(one["error"])

    node.agent.wait(lambda said: any(map(is_told, said)), f"{FAILED}: {reason}", since, 60.0)


def restoring(node: Stand) -> list[str]:
    """The agent's programs that are to write rules."""
    programs = footprint(node.agent.process.pid).programs
    return [one for one in programs if b"--noflush" in Path(f"/proc/{one}/cmdline").read_bytes()]


def is_running(process: str) -> bool:
    """Whether it is there, and not only because nobody asks how it ended."""
    try:
        return "Z (zombie)" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@contextmanager
def without_iptables(node: Stand) -> Iterator[None]:
    """All its programs vanish in the agent's mount namespace, and come back."""
    inside = ("nsenter", f"--mount=/proc/{node.agent.process.pid}/ns/mnt")
    subprocess.run([*inside, "mount", "-t", "tmpfs", "none", PROGRAMS], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "umount", PROGRAMS], check=True)


def test_a_restore_that_is_refused_leaves_what_was_and_is_tried_again(node: Stand, programs: Wrapper) -> None:
    here, there, elsewhere = node.pods
    with node.intact():
        since = len(node.agent.entries)
        programs.behave("fail")
        node.order(elsewhere)
        failed(node, since, COMPLAINT)
        node.serves(here, there)
        node.may_serve(elsewhere)
        programs.behave("")
        node.serves(elsewhere)


def test_a_restore_that_hangs_for_a_while_is_waited_for(node: Stand, programs: Wrapper) -> None:
    here, there, elsewhere = node.pods
    with node.intact():
        programs.behave("hang")
        node.order(elsewhere)
        until(lambda: bool(restoring(node)))
        node.serves(here, there)
        node.may_serve(elsewhere)
        with programs.released():
            node.serves(elsewhere)


def test_an_agent_that_is_told_to_end_does_not_wait_for_a_restore_that_hangs(node: Stand, programs: Wrapper) -> None:
    here, there, elsewhere = node.pods
    programs.behave("hang")
    node.order(elsewhere)
    until(lambda: bool(restoring(node)))
    hanging = footprint(node.agent.process.pid).programs
    assert node.agent.stop() == 0
    until(lambda: not [one for one in hanging if is_running(one)])
    node.serves(here, there)
    node.may_serve(elsewhere)
    options = ("--kubeconfig", str(node.kubeconfig), "--config", str(node.config), "--backend", "iptables")
    with agent(node.lab.node, "kubernetes", *options):
        node.serves(elsewhere)


@pytest.mark.slow
def test_a_restore_that_never_ends_is_killed_and_tried_again(node: Stand, programs: Wrapper) -> None:
    here, there, elsewhere = node.pods
    with node.intact():
        since = len(node.agent.entries)
        programs.behave("hang")
        node.order(elsewhere)
        node.agent.wait(lambda said: any("was killed" in str(one) for one in said), "a time-out", since, 300.0)
        node.serves(here, there)
        node.may_serve(elsewhere)
        programs.behave("")
        node.serves(elsewhere)


def test_programs_that_are_gone_for_a_while_end_nothing(lab: Lab, tmp_path: Path) -> None:
    inside = stand(lab, tmp_path, fresh_vip(), backend="iptables", through=("unshare", "--mount"))
    with inside as node, node.intact():
        here, there, elsewhere = node.pods
        since = len(node.agent.entries)
        with without_iptables(node):
            node.order(elsewhere)
            failed(node, since, "cannot be started")
            node.serves(here, there)
            node.may_serve(elsewhere)
        node.serves(elsewhere)
