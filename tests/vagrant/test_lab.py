"""Two nodes and a client as virtual machines; each node's agent reads the same manifests. The packets between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import NONE
from lab.machine import Target
from tests.vagrant.conftest import Machines
from tests.vagrant.guests import INVENTORY, KPROXY, ROOM, Guest, endpoint, eventually, pods_of, servers, sources

pytestmark = pytest.mark.vagrant

BACKENDS = ("nftables", "iptables", "ipvs")
FAMILIES = (0, 1)
COUNT = 40
"""Connections enough that each of three endpoints is met: one is missed once in three million times."""
WEB = ("10.96.0.80", "fd00:10:96::80")
CLUSTER_PORT, LOCAL_PORT, ONE_NODE_PORT = 30080, 30081, 30082
SLICES = "/etc/kproxy/manifests/slices.yaml"
MANIFESTS = ROOM / "machine" / "manifests"
GATEWAYS = ("169.254.1.1", "fd00:169:254::1")


def configuration(mode: str) -> str:
    text = (ROOM / "machine" / "config.yaml").read_text()
    return re.sub(r"^mode: .*$", f"mode: {mode}", text, flags=re.MULTILINE)


def settle(node: Guest, mode: str) -> None:
    """Wait until this node's agent says that this mode's rules are in force in both families."""
    status = eventually(
        node.status, lambda found: bool(found) and found["backend"] == mode and found["ready"] and found["healthy"]
    )
    assert status, f"no agent answers on {node.name}"
    assert (status["backend"], status["ready"], status["healthy"]) == (mode, True, True)


@pytest.fixture(scope="module", params=BACKENDS)
def cluster(request: pytest.FixtureRequest, machines: Machines) -> Machines:
    """The machines, with only this backend's rules in both kernels."""
    for node in machines.nodes:
        node.run("systemctl", "stop", "kproxy.service")
        node.run(KPROXY, "cleanup")
        node.write("/etc/kproxy/config.yaml", configuration(request.param))
        node.run("systemctl", "start", "kproxy.service")
        settle(node, request.param)
    return machines


def everybody(family: int) -> set[str]:
    return {endpoint(both[family]) for both in pods_of("node-a", "node-b").values()}


def node_address(name: str, family: int) -> str:
    return str(INVENTORY[name]["addresses"][family])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pod", ["pod-a1", "pod-b1"])
def test_a_cluster_ip_reaches_pods_on_both_nodes(cluster: Machines, pod: str, family: int) -> None:
    """And they see the pod itself; only a pod that answers itself sees its node."""
    node = cluster.node_a if pod in pods_of("node-a") else cluster.node_b
    (answers,) = node.inside(pod).probe(Target(WEB[family], 80, count=COUNT))
    assert servers(answers) == everybody(family)
    own = pods_of(node.name)[pod][family]
    for server in servers(answers) - {endpoint(own)}:
        assert sources(answers, server) == {own}
    assert own not in sources(answers, endpoint(own))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_node_reaches_a_cluster_ip(cluster: Machines, family: int) -> None:
    (answers,) = cluster.node_b.probe(Target(WEB[family], 80, count=COUNT))
    assert servers(answers) == everybody(family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", ["node-a", "node-b"])
def test_a_node_port_with_policy_cluster_reaches_pods_on_both_nodes(cluster: Machines, node: str, family: int) -> None:
    """And no pod sees the client, since its answer has to come back this way."""
    (answers,) = cluster.client.probe(Target(node_address(node, family), CLUSTER_PORT, count=COUNT))
    assert servers(answers) == everybody(family)
    seen = set().union(*(sources(answers, server) for server in servers(answers)))
    assert node_address("client", family) not in seen


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", ["node-a", "node-b"])
def test_a_node_port_with_policy_local_stays_on_its_node(cluster: Machines, node: str, family: int) -> None:
    """And the pods see the client."""
    (answers,) = cluster.client.probe(Target(node_address(node, family), LOCAL_PORT, count=COUNT))
    assert servers(answers) == {endpoint(both[family]) for both in pods_of(node).values()}
    for server in servers(answers):
        assert sources(answers, server) == {node_address("client", family)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_node_port_with_policy_local_is_silent_on_a_node_without_endpoints(cluster: Machines, family: int) -> None:
    targets = [Target(node_address(name, family), ONE_NODE_PORT, count=3) for name in ("node-a", "node-b")]
    here, there = cluster.client.probe(*targets)
    assert servers(here) <= {endpoint(both[family]) for both in pods_of("node-a").values()}
    assert servers(there) == {NONE}


@pytest.fixture
def on_nftables(machines: Machines) -> Iterator[Machines]:
    for node in machines.nodes:
        node.write("/etc/kproxy/config.yaml", configuration("nftables"))
        settle(node, "nftables")
    yield machines
    for node in machines.nodes:
        node.write(SLICES, (MANIFESTS / "slices.yaml").read_text())


def test_the_backend_is_switched_while_connections_are_made(on_nftables: Machines) -> None:
    """The old rules go when the new ones stand; whoever connects meanwhile is answered."""
    client, node = on_nftables.client, on_nftables.node_a
    target = Target(node_address("node-a", 0), CLUSTER_PORT, count=20)
    node.write("/etc/kproxy/config.yaml", configuration("iptables"))
    met = set()

    def status() -> object:
        met.update(servers(client.probe(target)[0]))
        return (found := node.status()) and (found["backend"], found["ready"] and found["healthy"])

    assert eventually(status, lambda found: found == ("iptables", True)) == ("iptables", True)
    assert met == everybody(0)
    tables = eventually(lambda: node.run("nft", "list", "tables"), lambda text: "kproxy" not in text)
    assert not re.search(r"^table ip6? kproxy$", tables, re.MULTILINE)
    assert servers(client.probe(Target(node_address("node-a", 0), CLUSTER_PORT, count=COUNT))[0]) == everybody(0)


def without(machine: str, text: str) -> str:
    """Slices as a control plane leaves them when a node is gone."""
    return re.sub(rf"(nodeName: {machine}, conditions: \{{ready: )true", r"\g<1>false", text)


@pytest.mark.parametrize("family", FAMILIES)
def test_slices_without_a_node_differ(family: int) -> None:
    """The test below would prove nothing otherwise."""
    text = (MANIFESTS / "slices.yaml").read_text()
    address = pods_of("node-b")["pod-b1"][family]
    (line,) = {line for line in without("node-b", text).splitlines() if address in line}
    assert "ready: false" in line


def test_a_node_fails_and_comes_back(on_nftables: Machines) -> None:
    """Its power is cut; its endpoints go when the control plane says so; it starts and is what it was by itself."""
    lab, slices = on_nftables, (MANIFESTS / "slices.yaml").read_text()
    on_a = {endpoint(both[0]) for both in pods_of("node-a").values()}
    lab.vagrant.halt(vm_name="node-b", force=True)
    lab.node_a.write(SLICES, without("node-b", slices))
    target = Target(node_address("node-a", 0), CLUSTER_PORT, count=COUNT)
    met = eventually(lambda: servers(lab.client.probe(target)[0]), lambda found: found == on_a)
    assert met == on_a

    lab.vagrant.up(vm_name="node-b", provision=False)
    settle(lab.node_b, "nftables")
    assert servers(lab.node_b.inside("pod-b1").probe(Target(WEB[1], 80, count=COUNT))[0]) == everybody(1)
    lab.node_a.write(SLICES, slices)
    met = eventually(lambda: servers(lab.client.probe(target)[0]), lambda found: found == everybody(0))
    assert met == everybody(0)


def test_the_inventory_and_the_manifests_name_the_same_pods() -> None:
    text = "".join(path.read_text() for path in sorted(Path(MANIFESTS).iterdir()))
    for machine in ("node-a", "node-b"):
        for both in pods_of(machine).values():
            assert all(text.count(f'"{address}"') >= 2 for address in both)
