"""A kernel that others change all the time, and whose notifications are lost, comes to hold what is wanted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.machine import Machine
from lab.topology import Lab
from tests.e2e.world import fresh_vip
from tests.faults.stand import Stand, stand

pytestmark = pytest.mark.root

EVERY_SECOND = {"syncPeriod": "1s", "minSyncPeriod": "0s"}
RARELY = {"syncPeriod": "1h", "minSyncPeriod": "0s"}
CHANGES = 10
CHAINS = "".join(f" chain c{number} {{ counter; }}\n" for number in range(200))
NEIGHBOURS = {
    "nftables": (
        "nft -f -",
        f"table inet neighbour\ndelete table inet neighbour\ntable inet neighbour {{\n{CHAINS}}}\n",
    ),
    "iptables": (
        "iptables-restore --noflush",
        "*nat\n:THEIRS - [0:0]\n-A THEIRS -j RETURN\n-F THEIRS\n-X THEIRS\nCOMMIT\n",
    ),
}
FLOOD = "table inet flood {{\nset s {{ type ipv4_addr; elements = {{ {elements} }}; }}\n}}\ndelete table inet flood\n"
ELEMENTS = 20_000
"""Told of in some 2 MB; a few times as much is more than a socket holds."""


@contextmanager
def neighbour(node: Machine, program: str, text: str) -> Iterator[list[int]]:
    """Another program loads rules time and again; the list has as many entries as it was loaded."""
    ended, loads = threading.Event(), list[int]()

    def run() -> None:
        while not ended.is_set():
            loads.append(
                subprocess.run(node.command([*program.split()]), input=text, text=True, check=False).returncode
            )

    thread = threading.Thread(target=run, name="neighbour")
    thread.start()
    try:
        yield loads
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_generations_that_pass_while_we_read_and_write_are_begun_anew(lab: Lab, tmp_path: Path, backend: str) -> None:
    """The kernel answers with EINTR to a dump and with ERESTART or EAGAIN to a batch that lost the race."""
    with (
        stand(lab, tmp_path, fresh_vip(), backend=backend, **{backend: EVERY_SECOND}) as node,
        node.intact(),
        neighbour(lab.node, *NEIGHBOURS[backend]) as loads,
    ):
        for number in range(CHANGES):
            node.follows(node.pods[number % 3], node.pods[(number + 1) % 3])
        assert loads.count(0) >= CHANGES


def test_lost_notifications_are_drift_until_one_has_looked(lab: Lab, tmp_path: Path) -> None:
    """More is told than the socket of an agent holds that stands still (ENOBUFS); what was done to us is among it."""
    flood = FLOOD.format(elements=", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(ELEMENTS)))
    with stand(lab, tmp_path, fresh_vip(), nftables=RARELY) as node, node.intact():
        since, process = len(node.agent.entries), node.agent.process.pid
        os.kill(process, signal.SIGSTOP)
        try:
            while not lost(node):
                lab.node.run("nft", "-f", "-", stdin=flood)
            lab.node.run("nft", "flush", "set", "ip", "kproxy", "cluster-ips")
        finally:
            os.kill(process, signal.SIGCONT)
        node.heard("rules were changed by others and are put right", since)


def lost(node: Stand) -> int:
    """How many notifications the agent's sockets have lost: the drops of its sockets in /proc/net/netlink."""
    process = node.agent.process.pid
    own = {
        found[1] for one in Path(f"/proc/{process}/fd").iterdir() if (found := re.match(r"socket:\[(\d+)\]", link(one)))
    }
    lines = Path(f"/proc/{process}/net/netlink").read_text().splitlines()[1:]
    return sum(int(words[8]) for words in map(str.split, lines) if words[9] in own)


def link(path: Path) -> str:
    """Where a link of /proc leads; nowhere if it is gone."""
    try:
        return str(path.readlink())
    except OSError:
        return ""
