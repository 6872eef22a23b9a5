"""A restart with unchanged state changes nothing in the kernel, and of 500 new connections a second none is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.agent import FIRST, Agent, agent
from lab.machine import Machine
from lab.topology import NODE_IPS
from tests.e2e import steady
from tests.e2e.world import World, endpoint, endpoint_slice, everywhere, fresh_vip, service, world

pytestmark = pytest.mark.root

PER_SECOND = 500
ATTEMPTS = 3
"""A gap in the rules loses first packets at every restart, a machine that stands still for a second at one of them."""
NOTHING = "0 added, 0 changed, 0 removed"


@contextmanager
def connections(machine: Machine, address: str, port: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """New connections at PER_SECOND from a machine; the function ends them and returns what came of them."""
    program = (sys.executable, "-E", "-s", "-S", str(steady.__file__), address, str(port), str(PER_SECOND))
    command = machine.command(program)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield lambda: json.loads(process.communicate(timeout=60)[0])
        finally:
            process.kill()


def end(running: Agent, number: signal.Signals) -> None:
    os.kill(running.process.pid, number)
    running.process.wait(10)


def assert_unchanged(running: Agent) -> None:
    changes = [entry["objects"] for entry in running.entries if entry["event"] == FIRST]
    assert [text.startswith(NOTHING) for text in changes] == [True, True], changes


def restart_twice(node: World) -> None:
    """Once after SIGTERM, once after SIGKILL; each time the next one is left to sync, and nobody runs in the end."""
    if node.agent.process.poll() is None:
        end(node.agent, signal.SIGTERM)
    with agent(node.lab.node, node.folder, *node.options) as second:
        assert_unchanged(second)
        end(second, signal.SIGKILL)
        with agent(node.lab.node, node.folder, *node.options) as third:
            assert_unchanged(third)


def one_restart(node: World, address: str, port: int) -> dict[str, Any]:
    with connections(node.lab.outside, address, port) as finish:
        restart_twice(node)
        return finish()


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_no_connection_is_lost_while_the_agent_is_restarted(backend: str, family: int, tmp_path: Path) -> None:
    vip = fresh_vip()
    with world(backend, tmp_path) as node:
        slices = endpoint_slice("svc", family, *map(endpoint, everywhere(family)))
        node.put("svc", family, service("svc", vip, family, type="NodePort"), slices)
        seen = [one_restart(node, NODE_IPS[family], vip.node_port)]
        while seen[-1]["retried"] and len(seen) < ATTEMPTS:
            seen.append(one_restart(node, NODE_IPS[family], vip.node_port))
    assert all(one["results"].keys() == {"answered"} for one in seen), seen
    assert seen[-1]["retried"] == 0, seen
    assert seen[-1]["results"]["answered"] >= 0.9 * PER_SECOND * seen[-1]["took_s"], seen
