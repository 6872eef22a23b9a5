"""Faults that are the whole machine's: the xtables lock, a full table of connections, a wall clock that jumps."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.topology import Lab
from tests.bench.connections import LIMIT, fill
from tests.e2e.world import fresh_vip, make_legacy
from tests.fakes.namespace import in_namespace
from tests.faults.stand import Stand, stand

pytestmark = [pytest.mark.root, pytest.mark.ipvs, pytest.mark.own_kernel]

LOCK = Path("/run/xtables.lock")
HELD_S = 10.0
FLOWS = 2000
DAY_S = 86_400.0
JUMPS_S = (DAY_S, -2 * DAY_S, 3600.0, DAY_S - 3600.0)


@contextmanager
def node(lab: Lab, folder: Path, *, controlled: bool = True) -> Iterator[Stand]:
    make_legacy(lab.node)
    with stand(lab, folder, fresh_vip(), backend="iptables", controlled=controlled) as made:
        yield made
    for program in ("iptables-legacy", "ip6tables-legacy"):
        lab.node.run(program, "-t", "mangle", "-X", "KUBE-IPTABLES-HINT")


def test_a_lock_that_is_held_is_waited_for_and_asked_for_again(lab: Lab, tmp_path: Path) -> None:
    with node(lab, tmp_path) as made, made.intact():
        here, there, elsewhere = made.pods
        since = len(made.agent.entries)
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            released_at = time.monotonic() + HELD_S
            made.order(elsewhere)
            made.heard("sync failed, the rules are as they were", since)
            made.serves(here, there)
            made.may_serve(elsewhere)
            time.sleep(max(released_at - time.monotonic(), 0.0))
        made.serves(elsewhere)
        told = [one for one in made.agent.entries[since:] if one["event"].startswith("sync failed")]
        assert "held the xtables lock for 5 s" in told[0]["error"]


def test_rules_follow_though_there_is_no_room_for_another_connection(lab: Lab, tmp_path: Path) -> None:
    """What is refused for want of room goes nowhere; once there is room the newest endpoints answer."""
    with node(lab, tmp_path, controlled=False) as made, made.intact(), nothing_changed(LIMIT):
        elsewhere = made.pods[2]
        in_namespace(lab.node.namespace, lambda: fill(FLOWS))
        made.traffic.allow({"NONE"})
        LIMIT.write_text(str(FLOWS // 2))
        made.traffic.until({"NONE"})
        since = len(made.agent.entries)
        made.order(elsewhere)
        made.heard("synced", since)
        made.traffic.until({"NONE"})
        made.may_serve(elsewhere)
        LIMIT.write_text(str(FLOWS * 100))
        made.serves(elsewhere)


@contextmanager
def nothing_changed(path: Path) -> Iterator[None]:
    """Whatever is written into a file of /proc is put back."""
    before = path.read_text()
    try:
        yield
    finally:
        path.write_text(before)


def test_a_wall_clock_that_jumps_both_ways_moves_nothing_else(lab: Lab, tmp_path: Path) -> None:
    with node(lab, tmp_path) as made, made.intact():
        for number, jump_s in enumerate(JUMPS_S):
            time.clock_settime(time.CLOCK_REALTIME, time.time() + jump_s)
            made.follows(made.pods[number % 3])
