"""kproxy follows kube-proxy on a node, and kube-proxy kproxy, in each of its modes; no connection is lost meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.agent import KPROXY, agent
from lab.machine import LabError
from lab.topology import NODE_IPS, NODE_NAME, PORTS, Lab, laboratory
from tests.e2e import kube_proxy
from tests.e2e.kube_proxy import Served
from tests.e2e.pages import until
from tests.e2e.test_restart import PER_SECOND, connections, count_first_packets, counted, dropped_by_the_machine
from tests.e2e.test_switch import SLOWLY, count_by_legacy, counted_by_legacy
from tests.e2e.world import (
    FAMILIES,
    NODE,
    RANGES,
    config_text,
    endpoint,
    endpoint_slice,
    everywhere,
    fresh_vip,
    make_legacy,
    service,
)

pytestmark = pytest.mark.root


class Node:
    """A laboratory whose node kube-proxy has programmed for a Service, and what kproxy is told of it."""

    def __init__(self, lab: Lab, family: int, folder: Path) -> None:
        vip, ends = fresh_vip(), everywhere(family)
        objects = [service("svc", vip, family, type="NodePort"), endpoint_slice("svc", family, *map(endpoint, ends))]
        self.lab = lab
        self.served = Served(family, vip.cluster[family], 80, vip.node_port, NODE_IPS[family], ends, PORTS[0])
        self.source, self.config = folder / "objects", folder / "config.json"
        self.source.mkdir()
        listed = {"apiVersion": "v1", "kind": "List", "items": [NODE, RANGES, *objects]}
        (self.source / "all.json").write_text(json.dumps(listed))
        self.config.write_text(config_text({}))

    @property
    def asked(self) -> tuple[str, ...]:
        """The options for a question about it."""
        return ("--source", str(self.source), "--config", str(self.config), "--node-name", NODE_NAME)

    def load(self, mode: str) -> None:
        """Write what kube-proxy would."""
        run, family = self.lab.node.run, self.served.family
        if mode == "iptables":
            tool = ("iptables-restore", "ip6tables-restore")[family]
            run(tool, "--noflush", stdin=kube_proxy.iptables(self.served))
        elif mode == "nftables":
            run("nft", "-f", "-", stdin=kube_proxy.nftables(self.served))
        else:
            self.lab.node.sysctl({"net/ipv4/vs/conntrack": "1"})
            for program, text in kube_proxy.ipvs(self.served):
                run(*program.split(), stdin=text)

    def kube_proxys(self) -> str:
        """What `cleanup` would remove of kube-proxy's."""
        return self.lab.node.run(KPROXY, "cleanup", "--kube-proxy", "--keep-ours", "--plan")


@contextmanager
def programmed(mode: str, family: int, folder: Path, *, legacy: bool = False) -> Iterator[Node]:
    with laboratory() as lab:
        if legacy:
            make_legacy(lab.node)
        node = Node(lab, family, folder)
        node.load(mode)
        assert node.kube_proxys()
        yield node


def there_and_back(node: Node, mode: str, backend: str) -> None:
    """kproxy beside kube-proxy's rules, these removed, written anew beside kproxy's, and kproxy's removed."""
    run = node.lab.node.run
    report = json.loads(run(KPROXY, "migrate", "--plan", "-o", "json", "--to", backend, *node.asked))
    assert (report["from"], report["services"]) == ({"proxy": "kube-proxy", "backend": mode}, 1)
    with agent(node.lab.node, node.source, "--backend", backend, "--config", str(node.config)):
        run(KPROXY, "migrate", "--yes", "--drain-timeout", "0", *node.asked)
        assert node.kube_proxys() == ""
    node.load(mode)
    run(KPROXY, "cleanup")
    assert run(KPROXY, "cleanup", "--plan") == ""


def by_nftables(node: Node, port: int) -> tuple[Callable[[], int], Callable[[], int]]:
    """Functions that tell how many first packets were lost, and how many were sent."""
    lost, dropped = count_first_packets(node.lab, port), dropped_by_the_machine()
    return lambda: max(lost() - dropped_by_the_machine() + dropped, 0), lambda: counted(node.lab.outside)


WAYS = [
    ("iptables", "nftables", 0),
    ("iptables", "iptables", 1),
    ("nftables", "nftables", 0),
    ("nftables", "iptables", 1),
]


@pytest.mark.parametrize(
    ("mode", "backend", "family"), WAYS, ids=[f"{old} to {new}, {FAMILIES[family]}" for old, new, family in WAYS]
)
def test_no_connection_is_lost_from_kube_proxy_to_kproxy_and_back(
    mode: str, backend: str, family: int, tmp_path: Path
) -> None:
    with programmed(mode, family, tmp_path) as node:
        lost, sent = by_nftables(node, node.served.node_port)
        with connections(node.lab.outside, NODE_IPS[family], node.served.node_port) as finish:
            until(lambda: sent() >= PER_SECOND)
            there_and_back(node, mode, backend)
            seen = finish()
        assert seen["results"].keys() == {"answered"}, seen
        assert seen["results"]["answered"] >= int(PER_SECOND * seen["took_s"]), seen
        until(lambda: lost() == 0)


@pytest.mark.ipvs
def test_no_connection_is_lost_from_kube_proxys_ipvs_mode_to_kproxy_and_back(tmp_path: Path) -> None:
    with programmed("ipvs", 0, tmp_path, legacy=True) as node:
        lost = count_by_legacy(node.lab, 80)
        with connections(node.lab.outside, node.served.vip, 80, SLOWLY) as finish:
            until(lambda: counted_by_legacy(node.lab.outside) >= SLOWLY)
            there_and_back(node, "ipvs", "iptables")
            seen = finish()
        assert seen["results"].keys() == {"answered"}, seen
        until(lambda: lost() == 0)


def test_kube_proxys_rules_stay_while_kproxys_are_not_as_they_should_be(tmp_path: Path) -> None:
    with programmed("iptables", 0, tmp_path) as node:
        run, before = node.lab.node.run, node.kube_proxys()
        with pytest.raises(LabError, match="has no rules of kproxy"):
            run(KPROXY, "migrate", "--yes", *node.asked)
        with agent(node.lab.node, node.source, "--backend", "nftables", "--config", str(node.config)):
            pass
        copy = tmp_path / "kube-proxy"  # a process is known by the name of its file
        copy.write_bytes(Path("/bin/cat").read_bytes())
        copy.chmod(0o755)
        with subprocess.Popen(node.lab.node.command([str(copy)]), stdin=subprocess.PIPE) as process:
            until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "kube-proxy\n")
            with pytest.raises(LabError, match=r"kube-proxy \(process \d+\) runs here"):
                run(KPROXY, "migrate", "--yes", *node.asked)
            process.communicate()
        run("nft", "flush", "chain", "ip", "kproxy", "dispatch")
        with pytest.raises(LabError, match="kube-proxy's stay"):
            run(KPROXY, "migrate", "--yes", *node.asked)
        assert node.kube_proxys() == before
