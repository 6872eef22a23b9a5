"""The backend of a running node is changed by its configuration, and no connection is lost, neither old nor new.

New ones are counted at both ends, as for a restart; old ones have data flowing all the time.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.agent import KPROXY, Entry, agent
from lab.machine import PYTHON, Machine
from lab.topology import NODE_IPS, PORTS, Lab
from tests.e2e import flowing
from tests.e2e.pages import until
from tests.e2e.test_restart import (
    PATIENCE_S,
    PER_SECOND,
    connections,
    count_first_packets,
    counted,
    dropped_by_the_machine,
)
from tests.e2e.world import (
    FAMILIES,
    Manifest,
    Vip,
    World,
    config_text,
    endpoint,
    endpoint_slice,
    everywhere,
    fresh_vip,
    sees,
    service,
    world,
)

pytestmark = pytest.mark.root

FRONT, FLOWING_PORT, FLOWS = 81, 9090, 10
"""Of connections with data: the Service's port, the endpoints', and how many there are."""
REMOVED = "removed what another backend of kproxy had left"
BESIDE = "another backend's rules stand beside the old ones"
MAY_FINISH = "connections of the IPVS backend may finish"
KEPT = "configuration changed, but the old one stays in force"
SWITCH_S = 120.0


@contextmanager
def started(machine: Machine, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`flowing` on a machine, which has said that it is ready."""
    command = machine.command((*PYTHON, str(flowing.__file__), *words))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() in ("ready", "flowing")
            yield process
        finally:
            process.kill()


def listen(lab: Lab, stack: ExitStack) -> None:
    """Let every endpoint echo until the stack ends."""
    for server in (lab.pod_here, lab.pod_there, lab.node_b):
        stack.enter_context(started(server, "serve", str(FLOWING_PORT)))


@contextmanager
def talking(lab: Lab, address: str, pause_s: float = 0.02) -> Iterator[Callable[[], list[Any]]]:
    """Connections with data from outside; the function ends them and returns how many lines came back on each."""
    with started(lab.outside, "talk", address, str(FRONT), str(FLOWS), str(pause_s)) as process:
        yield lambda: json.loads(process.communicate(timeout=PATIENCE_S)[0])


def serve(node: World, family: int) -> tuple[Vip, Vip]:
    """Two Services of type NodePort: one that answers and closes, and one, on port 81, over which data flow."""
    short, long = fresh_vip(), fresh_vip()
    ends = [endpoint(address) for address in everywhere(family)]
    for name, vip, port, target in (("short", short, 80, PORTS[0]), ("long", long, FRONT, FLOWING_PORT)):
        own = {"name": "main", "port": port, "protocol": "TCP", "nodePort": vip.node_port}
        objects = service(name, vip, family, type="NodePort", ports=[own])
        named = f"{name}-{FAMILIES[family].lower()}"
        objects["metadata"]["name"] = named
        node.put(named, family, objects, endpoint_slice(named, family, *ends, port=target))
    return short, long


def configure(node: World, own: Manifest | None = None, **settings: Any) -> None:
    """Another configuration, in one moment."""
    fresh = node.config.with_suffix(".new")
    fresh.write_text(config_text(own or {}, **settings))
    fresh.rename(node.config)


def wait_for(node: World, since: int, event: str, count: int = 1) -> list[Entry]:
    """Wait until the agent has said it so often."""

    def is_said(heard: Sequence[Entry]) -> bool:
        return [one["event"] for one in heard].count(event) >= count

    heard = node.agent.wait(is_said, event, since, SWITCH_S)
    return [one for one in heard if one["event"] == event]


def switch(node: World, mode: str, **settings: Any) -> None:
    """Change the backend, and wait until nothing is left of the one before in either family."""
    since = len(node.agent.entries)
    configure(node, mode=mode, **settings)
    wait_for(node, since, REMOVED, 2)


def standing(node: World) -> set[str]:
    """Which backends of ours have rules here, of those that this kernel can."""
    found = set()
    if "KPROXY-" in node.lab.node.run("iptables-save") + node.lab.node.run("ip6tables-save"):
        found.add("iptables")
    if "table ip kproxy" in node.lab.node.run("nft", "list", "tables"):
        found.add("nftables")
    return found


@contextmanager
def taken(node: World) -> Iterator[None]:
    """Somebody else holds the table that we would make: the kernel refuses us (NFT_TABLE_F_OWNER)."""
    with subprocess.Popen(node.lab.node.command(("nft", "-i")), stdin=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        holder.stdin.write("add table ip kproxy { flags owner; }\n")
        holder.stdin.flush()
        until(lambda: "ip kproxy" in node.lab.node.run("nft", "list", "tables"))
        yield
        holder.stdin.close()
        holder.wait(PATIENCE_S)


def status(node: World) -> Any:
    return json.loads(node.lab.node.run(KPROXY, "status", "-o", "json"))


def test_a_backend_that_cannot_be_had_leaves_the_old_one_in_force_and_followed(tmp_path: Path) -> None:
    vip, ends = fresh_vip(), everywhere(0)
    with world("iptables", tmp_path, by_mode=True) as node:
        node.put("svc", 0, service("svc", vip, 0), endpoint_slice("svc", 0, *map(endpoint, ends[:2])))
        with taken(node):
            since = len(node.agent.entries)
            configure(node, mode="nftables")
            kept = wait_for(node, since, KEPT)[0]
            assert kept["reason"].startswith("IPv4: nf_tables refuses a trial batch: Operation not permitted")
            found = status(node)
            assert (found["backend"], found["config"]["error"]) == ("iptables", kept["reason"])
            assert found["config"]["invalid"] >= 1
            assert "kproxy" not in node.lab.node.run("nft", "list", "tables").replace("table ip kproxy\n", "")
            node.put("svc", 0, service("svc", vip, 0), endpoint_slice("svc", 0, *map(endpoint, ends[2:])))
            assert set(node.ask("outside", vip.cluster[0])) == sees(ends[2:], "outside", 0, masquerade=True)
            configure(node, mode="iptables")  # else it would be tried again at some moment after the table is free
            until(lambda: not status(node)["config"]["error"])
        switch(node, "nftables")
        assert set(node.ask("outside", vip.cluster[0])) == sees(ends[2:], "outside", 0, masquerade=True)
        assert standing(node) == {"nftables"}


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_no_connection_is_lost_while_the_backend_is_changed_there_and_back(family: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        node = stack.enter_context(world("nftables", tmp_path, by_mode=True))
        listen(node.lab, stack)
        short, long = serve(node, family)
        end = stack.enter_context(talking(node.lab, long.cluster[family]))
        lost, dropped_before = count_first_packets(node.lab, short.node_port), dropped_by_the_machine()
        with connections(node.lab.outside, NODE_IPS[family], short.node_port) as finish:
            until(lambda: counted(node.lab.outside) >= PER_SECOND)
            for mode in ("iptables", "nftables"):
                switch(node, mode)
                assert standing(node) == {mode}
            seen = finish()
        assert seen["results"].keys() == {"answered"}, seen
        assert seen["results"]["answered"] >= int(PER_SECOND * seen["took_s"]), seen
        until(lambda: lost() <= dropped_by_the_machine() - dropped_before)
        all_flowed(end())


def all_flowed(came: Sequence[Any]) -> None:
    assert len(came) == FLOWS
    assert all(isinstance(lines, int) and lines > 1 for lines in came), came


SLOWLY, SELDOM_S = 10, 0.3
"""New connections a second, and a pause between data, that the other kernel's one emulated processor has time for."""
FIRST_PACKETS = ("-p", "tcp", "--syn", "-j", "ACCEPT", "-m", "comment", "--comment", "first-packets", "--dport")


def count_by_legacy(lab: Lab, port: int) -> Callable[[], int]:
    """As `count_first_packets`, where there is no nf_tables; what the machine itself dropped does not count."""
    ends = dict.fromkeys((lab.pod_here, lab.pod_there, lab.node_b), ("PREROUTING", PORTS[0]))
    ends[lab.outside] = ("OUTPUT", port)
    for machine, (chain, at) in ends.items():
        machine.sysctl({"net/ipv4/tcp_max_tw_buckets": "0"})
        for program in ("iptables-legacy", "ip6tables-legacy"):
            machine.run(program, "-t", "mangle", "-A", chain, *FIRST_PACKETS, str(at))

    dropped = dropped_by_the_machine()

    def lost() -> int:
        arrived = sum(map(counted_by_legacy, (lab.pod_here, lab.pod_there, lab.node_b)))
        return max(counted_by_legacy(lab.outside) - arrived - dropped_by_the_machine() + dropped, 0)

    return lost


def counted_by_legacy(machine: Machine) -> int:
    saved = "".join(
        machine.run(program, "-c", "-t", "mangle") for program in ("iptables-legacy-save", "ip6tables-legacy-save")
    )
    return sum(int(line[1:].partition(":")[0]) for line in saved.splitlines() if "first-packets" in line)


def of_ipvs(node: World) -> list[str]:
    """What stands of the IPVS backend."""
    run = node.lab.node.run
    chains = [line for tool in ("iptables-legacy-save", "ip6tables-legacy-save") for line in run(tool).splitlines()]
    return [
        *run("ipvsadm", "-S", "-n").splitlines(),
        *(line for line in chains if "KPROXY-IPVS-" in line),
        *(line for line in run("ipset", "save").splitlines() if "KPROXY-" in line),
        *(line for line in run("ip", "-o", "link").splitlines() if "kproxy-ipvs0" in line),
    ]


def of_iptables(node: World) -> list[str]:
    """What stands of the iptables backend."""
    saved = node.lab.node.run("iptables-legacy-save") + node.lab.node.run("ip6tables-legacy-save")
    return [line for line in saved.splitlines() if "KPROXY-" in line and "KPROXY-IPVS-" not in line]


@pytest.mark.ipvs
def test_no_connection_is_lost_on_the_way_to_ipvs_and_back(tmp_path: Path) -> None:
    family = 1  # the other one is in tests/e2e/test_take_over.py; this kernel takes minutes for each
    with ExitStack() as stack:
        node = stack.enter_context(world("iptables", tmp_path, by_mode=True, legacy=True))
        listen(node.lab, stack)
        short, long = serve(node, family)
        before = stack.enter_context(talking(node.lab, long.cluster[family], SELDOM_S))
        lost = count_by_legacy(node.lab, 80)
        with connections(node.lab.outside, short.cluster[family], 80, SLOWLY) as finish:
            until(lambda: counted_by_legacy(node.lab.outside) >= SLOWLY)
            switch(node, "ipvs")
            assert (bool(of_ipvs(node)), of_iptables(node)) == (True, [])
            all_flowed(before())
            meanwhile = stack.enter_context(talking(node.lab, long.cluster[family], SELDOM_S))
            since = len(node.agent.entries)
            configure(node, mode="iptables")
            (waits,) = wait_for(node, since, MAY_FINISH)
            assert waits["connections"] >= FLOWS
            seen = finish()
        assert seen["results"].keys() == {"answered"}, seen
        until(lambda: lost() == 0)
        all_flowed(meanwhile())
        # What is closed stays in IPVS's table for two minutes; nobody has to wait for that here.
        configure(node, {"drainTimeout": "0s"}, mode="iptables")
        node.agent.wait(lambda _: not of_ipvs(node), "that nothing is left of IPVS", since, SWITCH_S)
        assert of_iptables(node)


def test_a_new_process_with_another_backend_follows_the_old_one(tmp_path: Path) -> None:
    vip, ends = fresh_vip(), everywhere(0)
    with world("nftables", tmp_path, by_mode=True) as node:
        node.put("svc", 0, service("svc", vip, 0), endpoint_slice("svc", 0, *map(endpoint, ends)))
        assert node.agent.stop() == 0
        configure(node, mode="iptables")
        with agent(node.lab.node, node.folder, *node.options) as other:
            node.agent = other
            wait_for(node, 0, REMOVED, 2)
            assert standing(node) == {"iptables"}
            assert set(node.ask("outside", vip.cluster[0])) == sees(ends, "outside", 0, masquerade=True)
