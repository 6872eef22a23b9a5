"""The agent as a process: started, stopped, killed, and given broken or moving things, with real packets."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab import REJECT
from lab.agent import FIRST, Entry, agent
from lab.topology import NODE_IPS, SECOND_NODE_IPS
from tests.e2e.world import (
    HERE,
    REMOTE,
    THERE,
    Vip,
    World,
    endpoint,
    endpoint_slice,
    everywhere,
    fresh_vip,
    sees,
    service,
    world,
)

pytestmark = pytest.mark.root

BACKENDS = pytest.mark.parametrize("backend", ["nftables", "iptables"])
IPV4 = 0
LOOPBACK = ("127.0.0.1", "::1")
NAME = "svc"


def objects(vip: Vip, *addresses: str, name: str = NAME, family: int = IPV4) -> list[dict]:
    """A NodePort Service with these endpoints."""
    slices = endpoint_slice(name, family, *map(endpoint, addresses))
    return [service(name, vip, family, type="NodePort"), slices]


def serves(node: World, vip: Vip, *addresses: str) -> None:
    expected = sees(addresses, "pod", IPV4, masquerade=False)
    assert set(node.ask("pod", vip.cluster[IPV4])) == expected


def first_changes(entries: Sequence[Entry]) -> list[str]:
    """What the first sync of each family changed."""
    return [entry["objects"] for entry in entries if entry["event"] == FIRST]


NOTHING = "0 added, 0 changed, 0 removed"


@BACKENDS
def test_rules_outlive_the_agent_and_a_restart_changes_nothing(backend: str, tmp_path: Path) -> None:
    vip = fresh_vip()
    with world(backend, tmp_path) as node:
        node.put(NAME, IPV4, *objects(vip, *everywhere(IPV4)))
        assert node.agent.stop() == 0
        serves(node, vip, *everywhere(IPV4))
        with agent(node.lab.node, node.folder, *node.options) as again:
            assert [text.startswith(NOTHING) for text in first_changes(again.entries)] == [True, True]
            serves(node, vip, *everywhere(IPV4))


@BACKENDS
def test_a_killed_agent_leaves_its_rules_and_the_next_one_catches_up(backend: str, tmp_path: Path) -> None:
    vip = fresh_vip()
    with world(backend, tmp_path) as node:
        node.put(NAME, IPV4, *objects(vip, *everywhere(IPV4)))
        os.kill(node.agent.process.pid, signal.SIGKILL)
        node.agent.process.wait(10)
        serves(node, vip, *everywhere(IPV4))
        node.write(NAME, {"apiVersion": "v1", "kind": "List", "items": objects(vip, HERE[IPV4], REMOTE[IPV4])})
        serves(node, vip, *everywhere(IPV4))
        with agent(node.lab.node, node.folder, *node.options):
            serves(node, vip, HERE[IPV4], REMOTE[IPV4])


@BACKENDS
def test_a_broken_file_is_named_and_the_last_good_state_stays(backend: str, tmp_path: Path) -> None:
    vip = fresh_vip()
    with world(backend, tmp_path) as node:
        node.put(NAME, IPV4, *objects(vip, *everywhere(IPV4)))
        node.write(NAME, '{"kind": "List",\n "items": [}')
        node.agent.wait(lambda heard: any(is_about(entry, f"{NAME}.json:2") for entry in heard), "the file and line")
        serves(node, vip, *everywhere(IPV4))
        node.put(NAME, IPV4, *objects(vip, THERE[IPV4]))
        serves(node, vip, THERE[IPV4])


def is_about(entry: Entry, text: str) -> bool:
    return any(text in str(value) for value in entry.values())


@pytest.mark.parametrize(
    ("backend", "settings", "endpoints"),
    [
        ("iptables", {}, everywhere(IPV4)),
        ("iptables", {"iptables": {"localhostNodePorts": False}}, ()),
        ("iptables", {"nodePortAddresses": ["192.0.2.0/24"]}, ()),
        ("nftables", {}, ()),
        ("nftables", {"nodePortAddresses": ["192.0.2.0/24", "127.0.0.0/8"]}, everywhere(IPV4)),
    ],
)
def test_node_ports_on_loopback(backend: str, settings: dict, endpoints: Sequence[str], tmp_path: Path) -> None:
    vip = fresh_vip()
    with world(backend, tmp_path, **settings) as node:
        node.put(NAME, IPV4, *objects(vip, *everywhere(IPV4)))
        expected = sees(endpoints, "node", IPV4, masquerade=True) or {REJECT}
        assert set(node.ask("node", LOOPBACK[0], vip.node_port)) == expected
        six = fresh_vip()
        node.put("six", 1, *objects(six, *everywhere(1), name="six", family=1))
        assert set(node.ask("node", LOOPBACK[1], six.node_port, count=3)) == {REJECT}


@BACKENDS
def test_node_port_addresses_are_followed_as_they_come_and_go(backend: str, tmp_path: Path) -> None:
    vip, late = fresh_vip(), "198.18.0.12"
    with world(backend, tmp_path, nodePortAddresses=["198.18.0.0/15"]) as node:
        node.put(NAME, IPV4, *objects(vip, *everywhere(IPV4)))
        served = sees(everywhere(IPV4), "outside", IPV4, masquerade=True)
        assert set(node.ask("outside", SECOND_NODE_IPS[IPV4], vip.node_port)) == served
        assert set(node.ask("outside", NODE_IPS[IPV4], vip.node_port, count=3)) == {REJECT}
        with node.agent.change("IPv4"):
            node.lab.node.ip([f"address add {late} dev uplink"])
        assert set(node.ask("outside", late, vip.node_port)) == served
        with node.agent.change("IPv4"):
            node.lab.node.ip([f"address del {late} dev uplink"])
        assert set(node.ask("outside", SECOND_NODE_IPS[IPV4], vip.node_port)) == served
