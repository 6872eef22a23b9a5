"""A host that has no room, no descriptors, read-only kernel parameters or a link less is served as far as it goes."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.agent import KPROXY
from lab.machine import Target
from lab.topology import NODE_NAME, Lab, laboratory
from tests.e2e.pages import HEALTHZ_PORT, until
from tests.e2e.world import fresh_vip, service
from tests.fakes.apiserver import CUT
from tests.fakes.namespace import in_namespace
from tests.faults import inside
from tests.faults.footprint import nothing_leaked
from tests.faults.stand import KINDS, stand

pytestmark = pytest.mark.root

INSIDE = ("unshare", "--mount", sys.executable, "-ESs", inside.__file__)
NETWORKS = ["192.0.2.0/24", "198.18.0.0/15"]
"""Where NodePorts are, so that the node's addresses are to be known."""
LOOKS, LOOK_S = 50, 0.01
NEW_ADDRESS = "198.18.77.7"
CALM_S, BUSY = 3.0, 0.15
"""What share of a processor is much too much for nothing, and for how long one looks at it."""


def free_descriptor(process: int) -> int:
    """The one that it would be given next; a moment is waited, in which what is open for a moment is closed."""
    time.sleep(LOOK_S)
    used = {int(one.name) for one in Path(f"/proc/{process}/fd").iterdir()}
    return next(number for number in range(len(used) + 1) if number not in used)


@contextmanager
def no_descriptors(process: int) -> Iterator[None]:
    """The process has none left but those that it has for long."""
    lowest = min(free_descriptor(process) for _ in range(LOOKS))
    before = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_an_agent_without_descriptors_goes_on_when_it_has_some(lab: Lab, tmp_path: Path, backend: str) -> None:
    vip = fresh_vip()
    with stand(lab, tmp_path, vip, backend=backend, nodePortAddresses=NETWORKS) as node, node.intact():
        here, there, elsewhere = node.pods
        node.server.put(service("web", vip, 0, type="NodePort"))
        until(lambda: answers(lab, vip.node_port, "192.0.2.11"))
        node.server.await_watches(KINDS)
        since = len(node.agent.entries)
        with no_descriptors(node.agent.process.pid):
            node.may_serve(elsewhere)
            node.order(elsewhere)
            if backend == "nftables":
                node.serves(elsewhere)
            else:
                node.heard("sync failed, the rules are as they were")
                node.serves(here, there)
                node.may_serve(elsewhere)
            node.lab.node.ip([f"address add {NEW_ADDRESS}/32 dev lo"])
            node.agent.wait(lambda said: any("changed unseen" in str(one.get("error")) for one in said), "that", since)
        node.serves(elsewhere)
        until(lambda: answers(lab, vip.node_port, NEW_ADDRESS))
        node.lab.node.ip([f"address del {NEW_ADDRESS}/32 dev lo"])


def answers(lab: Lab, port: int, address: str) -> bool:
    """Whether a pod, of which nobody else asks anything meanwhile, is answered by an endpoint there."""
    return " " in next(iter(lab.pod_there.probe(Target(address, port))[0]))


def test_an_unanswered_client_costs_no_processor_time_while_there_is_no_descriptor(lab: Lab, tmp_path: Path) -> None:
    with stand(lab, tmp_path, fresh_vip()) as node, node.intact():
        process = node.agent.process.pid

        def client() -> socket.socket:
            return socket.create_connection(("127.0.0.1", HEALTHZ_PORT))

        with no_descriptors(process), in_namespace(lab.node.namespace, client) as waiting:
            before = processor_s(process)
            time.sleep(CALM_S)
            assert processor_s(process) - before < CALM_S * BUSY
            waiting.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            resource.prlimit(process, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
            waiting.settimeout(60.0)
            assert waiting.recv(4096).startswith(b"HTTP/1.0 200 ")


def processor_s(process: int) -> float:
    """User and system time so far."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_read_only_kernel_parameters_are_told_and_harm_nothing(lab: Lab, tmp_path: Path) -> None:
    through = (*INSIDE, "read-only", "/proc/sys")
    lab.node.sysctl({"net/ipv4/conf/all/route_localnet": "0"})
    own = {"maxPerCore": 0, "tcpBeLiberal": True}
    with stand(lab, tmp_path, fresh_vip(), backend="iptables", through=through, conntrack=own) as node, node.intact():
        refused = [one for one in node.agent.entries if "Read-only file system" in str(one.get("reason"))]
        assert {one["sysctl"].partition("=")[0] for one in refused} >= {"net.ipv4.conf.all.route_localnet"}
        assert all(one["consequence"] for one in refused)
        node.follows(node.pods[2])


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_an_agent_works_where_no_temporary_file_can_be_written(lab: Lab, tmp_path: Path, backend: str) -> None:
    room = tmp_path / "room"
    room.mkdir()
    through = (*INSIDE, "full", str(room), "env", f"TMPDIR={room}", f"HOME={room}")
    with stand(lab, tmp_path, fresh_vip(), backend=backend, through=through) as node, node.intact():
        node.server.await_watches(KINDS)
        node.server.command(CUT)
        node.follows(node.pods[2])


def test_a_full_disk_takes_the_log_and_nothing_else(lab: Lab, tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    with stand(lab, tmp_path, fresh_vip()) as node:
        assert node.agent.stop() == 0
        follow = (KPROXY, "run", "--kubeconfig", str(node.kubeconfig), "--node-name", NODE_NAME, "--log-format", "json")
        agent = lab.node.start(*INSIDE, "full-log", str(room), *follow)
        try:
            node.follows(node.pods[2])
            inner = Path(f"/proc/{agent.pid}/root{room}")
            with nothing_leaked(agent.pid):
                (inner / inside.FILLER).unlink()
                node.follows(node.pods[0])
                until(lambda: "synced" in (inner / inside.LOG).read_text())
            agent.terminate()
            assert agent.wait(60.0) == 0
        finally:
            agent.kill()
            agent.wait()


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_link_that_is_gone_takes_its_endpoint_and_no_other(tmp_path: Path, family: int) -> None:
    with (
        laboratory() as lab,
        stand(lab, tmp_path, fresh_vip(), family=family) as node,
        nothing_leaked(node.agent.process.pid),
    ):
        _, there, elsewhere = node.pods
        node.traffic.allow({"NONE", "UNREACHABLE"})
        node.lab.node.ip(["link delete veth-pod-here"])
        node.may_serve(elsewhere)
        node.order(there, elsewhere)
        node.serves(there, elsewhere)
