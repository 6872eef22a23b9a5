"""A restart with unchanged state changes nothing in the kernel, and of 500 new connections a second none is lost.

A first packet that is sent again proves nothing: on a machine that stands still for a second the answer comes too late.
So both ends count first packets: what left the client and did not arrive at an endpoint is lost.
"""

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
from lab.topology import NODE_IPS, PORTS, Lab
from tests.e2e import steady
from tests.e2e.pages import until
from tests.e2e.world import World, endpoint, endpoint_slice, everywhere, fresh_vip, service, world

pytestmark = pytest.mark.root

PER_SECOND = 500
PATIENCE_S = 120
NOTHING = "0 added, 0 changed, 0 removed"

COUNTER = """
table inet first_packets {
    chain every {
        type filter hook %s priority -500
        tcp dport %d tcp flags & (syn | ack) == syn counter
    }
}
"""
GAP = """
table inet gap {
    chain every { type filter hook forward priority -500; ct state new numgen inc mod 50 == 7 drop; }
}
"""


@contextmanager
def connections(
    machine: Machine, address: str, port: int, per_second: int = PER_SECOND
) -> Iterator[Callable[[], dict[str, Any]]]:
    """New connections at a pace from a machine; the function ends them and returns what came of them."""
    program = (sys.executable, "-E", "-s", "-S", str(steady.__file__), address, str(port), str(per_second))
    command = machine.command(program)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield lambda: json.loads(process.communicate(timeout=PATIENCE_S)[0])
        finally:
            process.kill()


def count_first_packets(lab: Lab, port: int) -> Callable[[], int]:
    """Count from now on; the function returns how many left the outside host and did not arrive at an endpoint.

    Endpoints close first, and then keep each connection's addresses for a minute (TIME_WAIT). The node, which gives
    connections a random port, may use one of these again, and Linux refuses its first packet when its time stamp is
    older (PAWSTimewait). No proxy can help it, so the endpoints keep none.
    """
    servers = (lab.pod_here, lab.pod_there, lab.node_b)
    for server in servers:
        server.sysctl({"net/ipv4/tcp_max_tw_buckets": "0"})
        server.run("nft", "-f", "-", stdin=COUNTER % ("prerouting", PORTS[0]))
    lab.outside.run("nft", "-f", "-", stdin=COUNTER % ("output", port))
    return lambda: counted(lab.outside) - sum(map(counted, servers))


def counted(machine: Machine) -> int:
    listing = json.loads(machine.run("nft", "-j", "list", "table", "inet", "first_packets"))["nftables"]
    (rule,) = (entry["rule"] for entry in listing if "rule" in entry)
    (counter,) = (part["counter"] for part in rule["expr"] if "counter" in part)
    packets: int = counter["packets"]
    return packets


def dropped_by_the_machine() -> int:
    """Packets that a processor had no time for: the kernel's own queue between two ends of a cable was full."""
    return sum(int(line.split()[1], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines())


def end(running: Agent, number: signal.Signals) -> None:
    os.kill(running.process.pid, number)
    running.process.wait(PATIENCE_S)


def assert_unchanged(running: Agent) -> None:
    changes = [entry["objects"] for entry in running.entries if entry["event"] == FIRST]
    assert [text.startswith(NOTHING) for text in changes] == [True, True], changes


def restart_twice(node: World) -> None:
    """Once after SIGTERM, once after SIGKILL; each time the next one is left to sync, and nobody runs in the end."""
    end(node.agent, signal.SIGTERM)
    with agent(node.lab.node, node.folder, *node.options) as second:
        assert_unchanged(second)
        end(second, signal.SIGKILL)
        with agent(node.lab.node, node.folder, *node.options) as third:
            assert_unchanged(third)


@contextmanager
def served_by_node_port(backend: str, family: int, folder: Path) -> Iterator[tuple[World, int]]:
    """A node with a Service of three endpoints, and its NodePort."""
    vip = fresh_vip()
    with world(backend, folder) as node:
        slices = endpoint_slice("svc", family, *map(endpoint, everywhere(family)))
        node.put("svc", family, service("svc", vip, family, type="NodePort"), slices)
        yield node, vip.node_port


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_no_connection_is_lost_while_the_agent_is_restarted(backend: str, family: int, tmp_path: Path) -> None:
    with served_by_node_port(backend, family, tmp_path) as (node, port):
        lost, dropped_before = count_first_packets(node.lab, port), dropped_by_the_machine()
        with connections(node.lab.outside, NODE_IPS[family], port) as finish:
            restart_twice(node)
            seen = finish()
        assert seen["results"].keys() == {"answered"}, seen
        assert seen["results"]["answered"] >= int(PER_SECOND * seen["took_s"]), seen
        until(lambda: lost() <= dropped_by_the_machine() - dropped_before)


def test_a_lost_first_packet_is_noticed(tmp_path: Path) -> None:
    with served_by_node_port("nftables", 0, tmp_path) as (node, port):
        lost = count_first_packets(node.lab, port)
        node.lab.node.run("nft", "-f", "-", stdin=GAP)
        with connections(node.lab.outside, NODE_IPS[0], port) as finish:
            until(lambda: counted(node.lab.outside) >= PER_SECOND)
            seen = finish()
        assert lost() >= PER_SECOND // 50, seen
