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

from lab.agent import KPROXY, Entry
from lab.machine import PYTHON, Machine
from lab.topology import NODE_IPS, Lab
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

OTHER = {"nftables": "iptables", "iptables": "nftables"}
FLOWING_PORT, FLOWS = 9090, 20
REMOVED = "removed what another backend of kproxy had left"
BESIDE = "another backend's rules stand beside the old ones"
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


@contextmanager
def flows(lab: Lab, address: str, port: int) -> Iterator[Callable[[], list[Any]]]:
    """Connections with data from outside; the function ends them and returns how many lines came back on each."""
    with ExitStack() as stack:
        for server in (lab.pod_here, lab.pod_there, lab.node_b):
            stack.enter_context(started(server, "serve", str(FLOWING_PORT)))
        process = stack.enter_context(started(lab.outside, "talk", address, str(port), str(FLOWS)))
        yield lambda: json.loads(process.communicate(timeout=PATIENCE_S)[0])


@contextmanager
def serving(backend: str, family: int, folder: Path) -> Iterator[tuple[World, int, int]]:
    """A node with two Services, and their NodePorts: one that answers and closes, one over which data flow."""
    short, long = fresh_vip(), fresh_vip()
    with world(backend, folder, by_mode=True) as node:
        ends = [endpoint(address) for address in everywhere(family)]
        node.put(
            "short", family, service("short", short, family, type="NodePort"), endpoint_slice("short", family, *ends)
        )
        slices = endpoint_slice("long", family, *ends, port=FLOWING_PORT)
        node.put("long", family, service("long", long, family, type="NodePort"), slices)
        yield node, short.node_port, long.node_port


def configure(node: World, **settings: Any) -> None:
    """Another configuration, in one moment."""
    fresh = node.config.with_suffix(".new")
    fresh.write_text(config_text({}, **settings))
    fresh.rename(node.config)


def wait_for(node: World, since: int, event: str, count: int = 1) -> list[Entry]:
    """Wait until the agent has said it so often."""

    def is_said(heard: Sequence[Entry]) -> bool:
        return [one["event"] for one in heard].count(event) >= count

    heard = node.agent.wait(is_said, event, since, SWITCH_S)
    return [one for one in heard if one["event"] == event]


def removals(mode: str) -> int:
    """How many parts another backend's rules are removed in: tables, or the chains of both families."""
    return {"nftables": 2, "iptables": 2}[mode]


def switch(node: World, mode: str) -> None:
    """Change the backend, and wait until nothing is left of the one before."""
    since = len(node.agent.entries)
    configure(node, mode=mode)
    wait_for(node, since, REMOVED, removals(mode))


def standing(node: World) -> set[str]:
    """Which backends of ours have rules here."""
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
            (kept,) = wait_for(node, since, KEPT)
            assert kept["reason"].startswith("IPv4: nf_tables refuses a trial batch: Operation not permitted")
            found = status(node)
            assert (found["backend"], found["config"]["error"]) == ("iptables", kept["reason"])
            assert found["config"]["invalid"] == 1
            assert "kproxy" not in node.lab.node.run("nft", "list", "tables").replace("table ip kproxy\n", "")
            node.put("svc", 0, service("svc", vip, 0), endpoint_slice("svc", 0, *map(endpoint, ends[2:])))
            assert set(node.ask("outside", vip.cluster[0])) == sees(ends[2:], "outside", 0, masquerade=True)
        configure(node, mode="iptables")
        until(lambda: not status(node)["config"]["error"])
        switch(node, "nftables")
        assert set(node.ask("outside", vip.cluster[0])) == sees(ends[2:], "outside", 0, masquerade=True)
        assert standing(node) == {"nftables"}


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_no_connection_is_lost_while_the_backend_is_changed_there_and_back(family: int, tmp_path: Path) -> None:
    with serving("nftables", family, tmp_path) as (node, short, long), flows(node.lab, NODE_IPS[family], long) as end:
        lost, dropped_before = count_first_packets(node.lab, short), dropped_by_the_machine()
        with connections(node.lab.outside, NODE_IPS[family], short) as finish:
            until(lambda: counted(node.lab.outside) >= PER_SECOND)
            for mode in ("iptables", "nftables"):
                switch(node, mode)
                assert standing(node) == {mode}
            seen = finish()
        assert seen["results"].keys() == {"answered"}, seen
        assert seen["results"]["answered"] >= int(PER_SECOND * seen["took_s"]), seen
        until(lambda: lost() <= dropped_by_the_machine() - dropped_before)
        came = end()
        assert len(came) == FLOWS
        assert all(isinstance(lines, int) and lines > 1 for lines in came), came
