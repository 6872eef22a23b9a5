"""Stale UDP flows with the real agent and real packets: the client's next datagram reaches a live endpoint.

Each situation is one of kube-proxy's own (test/e2e/network/conntrack.go): a client
that keeps its source port, so that its datagrams stay in one flow as long as that
flow lives. Before the change the flow is proved to be pinned; afterwards, with the
same source port, another endpoint must answer.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.listening import endpoint_text
from lab.machine import Machine
from lab.topology import NODE_IPS, OUTSIDE_IPS
from tests.e2e.world import (
    FAMILIES,
    HERE,
    REMOTE,
    THERE,
    Vip,
    World,
    endpoint,
    endpoint_slice,
    fresh_vip,
    service,
    world,
)

pytestmark = pytest.mark.root

SENDER = """
import socket, sys
to, port, source, source_port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
client = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.bind((source, source_port))
client.connect((to, port))
client.settimeout(float(sys.argv[5]))
try:
    client.send(b"x")
    print(client.recv(2000).decode().split()[0])
except TimeoutError:
    print("NONE")
except ConnectionRefusedError:
    print("REJECT")
"""
TALKER = """
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
print("open", flush=True)
sys.stdin.readline()
try:
    client.send(b"x" * 10)
    client.settimeout(60)
    print("answered" if client.recv(2000) else "closed")
except ConnectionResetError:
    print("reset")
except TimeoutError:
    print("silence")
"""
SOURCE_PORTS = itertools.count(20000)
SILENCE_S, PATIENCE_S = 1.0, 45.0
PORT, OTHER_PORT = 8080, 8081
REMOVED = "stale connections removed"


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(request.param, tmp_path_factory.mktemp(request.param)) as built:
        # Flows are to outlast a test on a busy machine.
        names = ("udp_timeout", "udp_timeout_stream")
        built.lab.node.sysctl({f"net/netfilter/nf_conntrack_{name}": "3600" for name in names})
        yield built


@pytest.fixture(params=[0, 1], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def vip() -> Vip:
    return fresh_vip()


class Flow:
    """A UDP client that keeps its source port."""

    def __init__(self, machine: Machine, source: str, to: str, port: int) -> None:
        self.machine = machine
        self.source = source
        self.to = to
        self.port = port
        self.source_port = next(SOURCE_PORTS)

    def send(self, patience_s: float = PATIENCE_S) -> str:
        """Who answers the next datagram: `10.64.1.10:8080`, NONE or REJECT."""
        arguments = (self.to, str(self.port), self.source, str(self.source_port), str(patience_s))
        return self.machine.run(sys.executable, "-S", "-c", SENDER, *arguments).strip()

    @property
    def mark(self) -> str:
        """How conntrack-tools shows it, as far as that is certain."""
        return f"sport={self.source_port} dport={self.port}"


def flow_from(node: World, client: str, family: int, to: str, port: int = 80) -> Flow:
    machine, source = node.client(client, family)
    return Flow(machine, source or NODE_IPS[family], to, port)


def put(node: World, vip: Vip, family: int, *endpoints: dict, port: int = PORT, **spec: object) -> None:
    node.put(f"svc-{vip.number}", family, *objects(vip, family, *endpoints, port=port, **spec))


def objects(vip: Vip, family: int, *endpoints: dict, port: int = PORT, **spec: object) -> list[dict]:
    name = f"svc-{vip.number}"
    return [
        service(name, vip, family, protocol="UDP", **spec),
        endpoint_slice(name, family, *endpoints, protocol="UDP", port=port),
    ]


def listed(vip: Vip, family: int, *endpoints: dict) -> dict:
    return {"apiVersion": "v1", "kind": "List", "items": objects(vip, family, *endpoints)}


@contextmanager
def cleaned(node: World, family: int) -> Iterator[None]:
    """Do something in the block, then wait until stale flows of the family have been removed because of it."""
    since = len(node.agent.entries)
    yield
    node.agent.wait(
        lambda heard: any(one.get("event") == REMOVED and one["family"] == FAMILIES[family] for one in heard),
        REMOVED,
        since,
    )


def ids(node: World, family: int, *flows: Flow) -> set[str]:
    """The kernel's names of these flows, by conntrack-tools."""
    listed = node.lab.node.run("conntrack", "-L", "-f", FAMILIES[family].lower(), "-p", "udp", "-o", "id")
    lines = [line for line in listed.splitlines() if any(flow.mark in line for flow in flows)]
    assert len(lines) == len(flows), listed
    return {line.split()[-1] for line in lines}


def at(address: str, port: int = PORT) -> str:
    return endpoint_text(address, port)


def moves(node: World, vip: Vip, family: int, flow: Flow, old: str, new: str, **spec: object) -> None:
    """The flow is pinned to `old` and follows when `new` takes its place; others stay as they are."""
    put(node, vip, family, endpoint(old), **spec)
    assert flow.send() == at(old)
    bystander = fresh_vip()
    put(node, bystander, family, endpoint(REMOTE[family]))
    others = (
        flow_from(node, "outside", family, bystander.cluster[family]),
        flow_from(node, "outside", family, HERE[family], PORT),
        flow_from(node, "pod", family, OUTSIDE_IPS[family], vip.node_port),
    )
    for one in others:
        one.send(SILENCE_S)
    before = ids(node, family, *others)
    put(node, vip, family, endpoint(old), endpoint(new), **spec)
    assert {flow.send() for _ in range(3)} == {at(old)}, "the flow should stay where it is as long as that serves"
    with cleaned(node, family):
        put(node, vip, family, endpoint(old, "gone"), endpoint(new), **spec)
    assert flow.send() == at(new)
    assert ids(node, family, *others) == before


def test_node_port(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "outside", family, NODE_IPS[family], vip.node_port)
    moves(node, vip, family, flow, THERE[family], REMOTE[family], type="NodePort")


def test_cluster_ip(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "pod", family, vip.cluster[family])
    moves(node, vip, family, flow, THERE[family], REMOTE[family])


def test_internal_policy_local(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "pod", family, vip.cluster[family])
    moves(node, vip, family, flow, THERE[family], HERE[family], internalTrafficPolicy="Local")


def test_client_on_the_node(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "node", family, vip.cluster[family])
    moves(node, vip, family, flow, THERE[family], REMOTE[family])


def test_endpoint_that_becomes_ready(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "outside", family, vip.cluster[family])
    put(node, vip, family, endpoint(THERE[family], "failing"))
    assert flow.send() == "REJECT"
    put(node, vip, family, endpoint(THERE[family]))
    assert flow.send() == at(THERE[family])
    with cleaned(node, family):
        put(node, vip, family, endpoint(THERE[family], "failing"))
    assert flow.send() == "REJECT"
    put(node, vip, family, endpoint(THERE[family]))
    assert flow.send() == at(THERE[family])


def test_target_port_changes(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "pod", family, vip.cluster[family])
    put(node, vip, family, endpoint(THERE[family]))
    assert flow.send() == at(THERE[family])
    with cleaned(node, family):
        put(node, vip, family, endpoint(THERE[family]), port=OTHER_PORT)
    assert flow.send() == at(THERE[family], OTHER_PORT)


def test_scale_to_zero_and_back(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "pod", family, vip.cluster[family])
    put(node, vip, family, endpoint(THERE[family]))
    assert flow.send() == at(THERE[family])
    with cleaned(node, family):
        put(node, vip, family)
    assert flow.send() == "REJECT"
    put(node, vip, family, endpoint(REMOTE[family]))
    assert flow.send() == at(REMOTE[family])


def test_a_draining_endpoint_keeps_its_flows(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "pod", family, vip.cluster[family])
    put(node, vip, family, endpoint(THERE[family]))
    assert flow.send() == at(THERE[family])
    put(node, vip, family, endpoint(THERE[family], "draining"), endpoint(REMOTE[family]))
    assert {flow.send() for _ in range(3)} == {at(THERE[family])}
    with cleaned(node, family):  # new connections went elsewhere already, so there are no rules to wait for
        node.write(f"svc-{vip.number}", listed(vip, family, endpoint(THERE[family], "gone"), endpoint(REMOTE[family])))
    assert flow.send() == at(REMOTE[family])


def test_a_flow_older_than_the_rules(node: World, vip: Vip, family: int) -> None:
    flow = flow_from(node, "pod", family, vip.external[family])
    assert flow.send(SILENCE_S) in {"NONE", "REJECT"}
    assert ids(node, family, flow)
    with cleaned(node, family):
        put(node, vip, family, endpoint(THERE[family]), externalIPs=[vip.external[family]])
    assert flow.send() == at(THERE[family])


@pytest.mark.parametrize(("drain_s", "wanted"), [("0", "reset"), (None, "answered")], ids=["drained", "left alone"])
def test_tcp_to_a_dead_endpoint_by_the_services_wish(
    node: World, vip: Vip, family: int, drain_s: str | None, wanted: str
) -> None:
    def write(*endpoints: dict) -> None:
        made = service(name, vip, family)
        if drain_s is not None:
            made["metadata"]["annotations"] = {"kproxy.io/tcp-drain-seconds": drain_s}
        node.put(name, family, made, endpoint_slice(name, family, *endpoints))

    name = f"svc-{vip.number}"
    write(endpoint(THERE[family]))
    machine, _ = node.client("outside", family)
    command = machine.command([sys.executable, "-S", "-c", TALKER, vip.cluster[family], "80"])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "open\n"
        if drain_s is None:
            write(endpoint(REMOTE[family]))
        else:
            with cleaned(node, family):
                write(endpoint(REMOTE[family]))
        answer, _ = client.communicate("\n", timeout=120)
    assert answer.strip() == wanted
