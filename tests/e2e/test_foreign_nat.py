"""What another program translates inside a ServiceCIDR gets there, whichever was there first; nobody's is dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import NONE, REJECT
from lab.agent import agent
from lab.listening import endpoint_text
from lab.machine import Machine, Target, probe_all
from lab.topology import OUTSIDE_IPS, Lab, laboratory
from tests.e2e.world import CONNECTIONS, HERE, NODE, RANGES, REMOTE, endpoint, endpoint_slice, fresh_vip, service

pytestmark = pytest.mark.root

SERVED = ("10.96.200.1", "fd00:10:96::9:1")
NOBODYS = ("10.96.200.2", "fd00:10:96::9:2")
NODES_OWN = ("10.96.200.3", "fd00:10:96::9:3")
PORT = 8080
WORDS = ("ip", "ip6")
SILENCE = 2
AUDIT = Path(__file__).parents[1] / "data" / "audit"
KUBE_PROXY = {
    "iptables": ("kube-proxy-iptables.rules", "iptables-restore"),
    "nftables": ("kube-proxy-nftables.nft", "nft", "-f", "-"),
}
"""Recorded rules, whose endpoints are pods of the laboratory, and what loads them."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory() as built:
        yield built


def foreign(node: Machine) -> None:
    """Another proxy's tables, which translate one address each, made anew."""
    text = ""
    for word, served, pod in zip(WORDS, SERVED, HERE, strict=True):
        target = f"[{pod}]:8080" if word == "ip6" else f"{pod}:8080"
        chains = "".join(
            f"chain {hook} {{ type nat hook {hook} priority -100; "
            f"{word} daddr {served} tcp dport 80 dnat to {target}; }}\n"
            for hook in ("prerouting", "output")
        )
        table = f"table {word} foreign"
        text += f"{table} {{}}\ndelete {table}\n{table} {{\n{chains}}}\n"
    node.run("nft", "-f", "-", stdin=text)


def check(lab: Lab) -> None:
    """Whom a foreign table serves, and what the node has itself, answers everybody; what nobody has, nobody."""
    for family in (0, 1):
        clients = {lab.pod_there: None, lab.node: None, lab.outside: OUTSIDE_IPS[family]}
        places = ((SERVED[family], 80, 1), (NODES_OWN[family], PORT, 1), (NOBODYS[family], 80, SILENCE))
        probes = {
            machine: [Target(address, port, source=source, count=count) for address, port, count in places]
            for machine, source in clients.items()
        }
        for machine, (served, own, nobodys) in probe_all(probes, lab.controls()).items():
            assert {one.partition(" ")[0] for one in served} == {endpoint_text(HERE[family], PORT)}, machine.name
            assert {one.partition(" ")[0] for one in own} == {endpoint_text(NODES_OWN[family], PORT)}, machine.name
            assert set(nobodys) == {NONE}, machine.name


def test_an_address_that_another_table_serves(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [NODE, RANGES]}))
    lab.node.ip(f"address add {address} dev lo" for address in NODES_OWN)
    lab.node.listen("TCP", PORT)
    foreign(lab.node)
    with agent(lab.node, tmp_path, "--backend", "nftables"):
        check(lab)
        foreign(lab.node)
        check(lab)


@pytest.mark.parametrize(
    ("mode", "edge"), [("iptables", "nftables"), ("nftables", "nftables"), ("nftables", "iptables")]
)
def test_an_instance_beside_kube_proxy(tmp_path: Path, mode: str, edge: str) -> None:
    """What kube-proxy's recorded rules serve or refuse, they go on to, and the instance serves its own."""
    vip = fresh_vip()
    own = service("own", vip, 0)
    own["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "edge"}
    objects = [NODE, RANGES, own, endpoint_slice("own", 0, endpoint(HERE[0]))]
    (tmp_path / "cluster.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    name, *load = KUBE_PROXY[mode]
    wanted = {(vip.cluster[0], 80): [HERE[0]], ("10.96.0.80", 80): [HERE[0], REMOTE[0]]}
    if mode == "iptables":  # the other recording has not all of the chains that refuse
        wanted["10.96.0.83", 443] = []
    with laboratory() as lab:
        lab.node.run(*load, stdin=(AUDIT / name).read_text())
        with agent(lab.node, tmp_path, "--backend", edge, "--instance", "edge"):
            clients = {lab.pod_there: None, lab.node: None, lab.outside: OUTSIDE_IPS[0]}
            probes = {
                one: [Target(*to, source=source, count=CONNECTIONS) for to in wanted] for one, source in clients.items()
            }
            for machine, answers in probe_all(probes, lab.controls()).items():
                for answer, (place, ends) in zip(answers, wanted.items(), strict=True):
                    found = {one.partition(" ")[0] for one in answer}
                    assert found == ({endpoint_text(one, PORT) for one in ends} or {REJECT}), (machine.name, place)
