"""What another program translates inside a ServiceCIDR gets there, whichever was there first; nobody's is dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import NONE
from lab.agent import agent
from lab.machine import Machine, Target, probe_all
from lab.topology import OUTSIDE_IPS, Lab, laboratory
from tests.e2e.world import HERE, NODE, RANGES

pytestmark = pytest.mark.root

SERVED = ("10.96.200.1", "fd00:10:96::9:1")
NOBODYS = ("10.96.200.2", "fd00:10:96::9:2")
WORDS = ("ip", "ip6")
SILENCE = 2


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory() as built:
        yield built


def foreign(node: Machine) -> None:
    """Another proxy's tables, which translate one address each, made anew."""
    text = ""
    for word, served, endpoint in zip(WORDS, SERVED, HERE, strict=True):
        target = f"[{endpoint}]:8080" if word == "ip6" else f"{endpoint}:8080"
        chains = "".join(
            f"chain {hook} {{ type nat hook {hook} priority -100; "
            f"{word} daddr {served} tcp dport 80 dnat to {target}; }}\n"
            for hook in ("prerouting", "output")
        )
        table = f"table {word} foreign"
        text += f"{table} {{}}\ndelete {table}\n{table} {{\n{chains}}}\n"
    node.run("nft", "-f", "-", stdin=text)


def check(lab: Lab) -> None:
    for family in (0, 1):
        clients = {lab.pod_there: None, lab.node: None, lab.outside: OUTSIDE_IPS[family]}
        places = ((SERVED[family], 1), (NOBODYS[family], SILENCE))
        probes = {
            machine: [Target(address, 80, source=source, count=count) for address, count in places]
            for machine, source in clients.items()
        }
        for machine, (served, nobodys) in probe_all(probes, lab.controls()).items():
            assert not set(served) & {NONE, "REJECT", "UNREACHABLE"}, machine.name
            assert set(nobodys) == {NONE}, machine.name


def test_an_address_that_another_table_serves(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [NODE, RANGES]}))
    foreign(lab.node)
    with agent(lab.node, tmp_path, "--backend", "nftables"):
        check(lab)
        foreign(lab.node)
        check(lab)
