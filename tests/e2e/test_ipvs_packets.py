"""Real packets through IPVS: every client and frontend of the recorded laboratory.

The expectation is what was seen behind kube-proxy's iptables mode, which its
own IPVS mode cannot give; `differently` says where and why ours answers otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.agent import agent
from lab.topology import laboratory
from tests import conformance
from tests.conformance import DIFFERENCES, Pair
from tests.e2e.test_packets import HINT, agrees, probe_pairs, write_config, write_objects

pytestmark = [pytest.mark.root, pytest.mark.ipvs]

UNLISTED = "a VIP is an address of the node, so its other ports are refused instead of being let through to the host"
LOOPBACK = "IPVS sends nothing from 127.0.0.1 to another host, so NodePorts are not there; the port is closed"


def differently(pair: Pair) -> tuple[frozenset[str], str] | None:
    if "/unlisted/" in pair.key:
        return frozenset({"REJECT"}), UNLISTED
    if pair.key.endswith("/nodeport-lo"):
        return frozenset({"REJECT"}), LOOPBACK
    return DIFFERENCES["iptables"].get(pair.key)


def test_every_client_sees_what_it_saw_behind_kube_proxy(tmp_path: Path, note: Callable[[str], None]) -> None:
    pairs = conformance.lab("iptables").pairs
    with laboratory() as lab:
        for program in ("iptables-legacy", "ip6tables-legacy"):
            lab.node.run(program, *HINT)
        config = str(write_config(tmp_path))
        with agent(lab.node, write_objects(tmp_path), "--backend", "ipvs", "--config", config):
            seen = probe_pairs(lab, pairs)
        servers = lab.node.run("ipvsadm", "-Ln")
    assert "FWM" in servers
    wrong = {}
    reasons: dict[str, int] = {}
    for pair in pairs:
        other = differently(pair)
        if other is None:
            if not agrees(pair, seen, "ipvs"):
                wrong[pair.key] = pair.seen, dict(seen[pair.key])
            continue
        reasons[other[1]] = reasons.get(other[1], 0) + 1
        if set(seen[pair.key]) != other[0]:
            wrong[pair.key] = other[0], dict(seen[pair.key])
    note(f"{len(pairs)} pairs through IPVS; on purpose differently from kube-proxy's iptables mode:")
    for reason, count in reasons.items():
        note(f"  {count} pairs: {reason}")
    assert wrong == {}, "\n".join(f"{key}: wanted {want}, saw {saw}" for key, (want, saw) in wrong.items())
