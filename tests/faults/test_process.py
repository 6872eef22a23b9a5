"""An agent that is stopped, continued, and killed at any moment: packets go on, and the next one finishes its work."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.agent import KPROXY, agent
from lab.topology import NODE_NAME, Lab
from tests.e2e.world import fresh_vip
from tests.faults.stand import KINDS, Stand, stand

pytestmark = pytest.mark.root

SHORT_S, LONG_S = 3.0, 60.0
AGENTS, LIFE_S = 30, 3.0
KILLS = {"nftables": 150, "iptables": 50}


@pytest.fixture(params=["nftables", "iptables"])
def node(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Stand]:
    with stand(lab, tmp_path, fresh_vip(), backend=request.param) as made:
        yield made


def stopped_for(node: Stand, seconds: float) -> None:
    """The agent stands still, while rules are changed by others and the cluster goes on."""
    here, there, elsewhere = node.pods
    with node.intact():
        node.server.await_watches(KINDS)
        since = len(node.agent.entries)
        os.kill(node.agent.process.pid, signal.SIGSTOP)
        node.order(here)
        harmless_drift(node)
        time.sleep(seconds)
        node.serves(here, there)
        node.may_serve(*node.pods)
        node.order(elsewhere)
        os.kill(node.agent.process.pid, signal.SIGCONT)
        node.serves(elsewhere)
        node.heard("rules were changed by others and are put right", since)


def harmless_drift(node: Stand) -> None:
    """Change a rule of ours that no connection of these tests needs."""
    if node.backend == "nftables":
        node.lab.node.run("nft", "flush", "set", "ip", "kproxy", "cluster-ips")
    else:
        node.lab.node.run("iptables", "-A", "KPROXY-FORWARD", "-s", "192.0.2.250", "-j", "ACCEPT")


def test_an_agent_that_stood_still_catches_up(node: Stand) -> None:
    stopped_for(node, SHORT_S)


@pytest.mark.slow
def test_an_agent_that_stood_still_for_a_minute_catches_up(node: Stand) -> None:
    stopped_for(node, LONG_S)


@pytest.mark.slow
def test_the_agent_itself_is_killed_again_and_again(node: Stand, note: Callable[[str], None]) -> None:
    """From its start on, also before its first sync; whoever comes next goes on with what it finds."""
    seed = random.randrange(1 << 32)
    note(f"kill -9 of the agent, {node.backend}: seed {seed}")
    chance = random.Random(seed)
    node.agent.process.kill()
    node.may_serve(*node.pods)
    options = ("--kubeconfig", str(node.kubeconfig), "--config", str(node.config), "--backend", node.backend)
    command = (KPROXY, "run", "--node-name", NODE_NAME, *options)
    for _ in range(AGENTS):
        process = node.lab.node.start(*command, output=subprocess.DEVNULL)
        until_s = time.monotonic() + chance.uniform(0.0, LIFE_S)
        while time.monotonic() < until_s:
            node.order(*chance.sample(node.pods, 2))
            time.sleep(chance.uniform(0.0, 0.05))
        process.kill()
        process.wait()
    node.order(node.pods[2])
    with agent(node.lab.node, "kubernetes", *options):
        node.serves(node.pods[2])


def test_whoever_is_killed_at_any_point_of_a_sync_leaves_the_old_state_or_the_new(
    node: Stand, note: Callable[[str], None]
) -> None:
    """The rules of nftables change at once; an iptables-restore that has begun goes on without the agent."""
    here, there, elsewhere = node.pods
    assert node.agent.stop() == 0
    seed = random.randrange(1 << 32)
    note(f"kill -9 at random points of syncs, {node.backend}: seed {seed}")
    states = [node.objects(there, elsewhere), node.objects(here, there)]
    order = {"backend": node.backend, "states": states, "kills": KILLS[node.backend], "seed": seed}
    node.may_serve(*node.pods)
    found = json.loads(node.lab.node.run(sys.executable, "-m", "tests.faults.syncing", stdin=json.dumps(order)))
    node.serves(there, elsewhere)
    assert len(found) == KILLS[node.backend]
    assert set(found) == {0, 1}, found
