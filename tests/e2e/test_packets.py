"""Real packets: every client and frontend of the recorded laboratory, against what was seen behind kube-proxy.

`tests/data/conformance/README.md` describes the laboratory and the records;
`lab/topology.py` builds the same one, and the agent runs on its node as a user
would start it. Where kproxy differs on purpose, `tests/conformance.py` says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from lab import NONE, UNREACHABLE
from lab.agent import agent
from lab.machine import Answers, Machine, Target, probe_all
from lab.topology import CLUSTER_CIDRS, PODS, Lab, laboratory
from tests import conformance
from tests.conformance import DIFFERENCES, Pair

pytestmark = pytest.mark.root

CONNECTIONS = 24
"""As many as were recorded."""
ENOUGH = 64
"""The records name up to three endpoints: 3 * (2/3) ** 64 is below 1e-10, so that none of them is missed by chance."""

HINT = ("-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
"""The chain by which kubelet, and whoever asks, knows which variant of iptables a host uses."""
HOSTS = {
    "nftables": ("nftables", (), "nft list table ip kproxy"),
    "iptables, nf_tables variant": ("iptables", ("iptables-nft", "ip6tables-nft"), "iptables-nft-save"),
    "iptables, legacy variant": ("iptables", ("iptables-legacy", "ip6tables-legacy"), "iptables-legacy-save"),
}
"""The backend, the programs that make the node a host of one variant, and the one that shows the rules."""


@pytest.mark.parametrize("host", HOSTS)
def test_every_client_sees_what_it_saw_behind_kube_proxy(
    host: str, tmp_path: Path, note: Callable[[str], None]
) -> None:
    backend, programs, show = HOSTS[host]
    pairs = conformance.lab(backend).pairs
    with laboratory() as lab:
        for program in programs:
            lab.node.run(program, *HINT)
        with agent(lab.node, write_objects(tmp_path), "--backend", backend, "--config", str(write_config(tmp_path))):
            seen = probe_pairs(lab, pairs)
        rules = lab.node.run(*show.split())
    assert "lab/udp-mixed" in rules
    note(f"{len(pairs)} pairs on a host with {host}; on purpose differently from kube-proxy:")
    for key, (_, reason) in DIFFERENCES[backend].items():
        note(f"  {key}: {reason}")
    wrong = {
        pair.key: (wanted(pair, backend), dict(seen[pair.key])) for pair in pairs if not agrees(pair, seen, backend)
    }
    assert wrong == {}
    assert len(pairs) == 730


def write_objects(folder: Path) -> Path:
    source = folder / "objects"
    source.mkdir()
    document = json.loads((conformance.DATA / "packets.json").read_text())
    (source / "objects.json").write_text(json.dumps(document["objects"]))
    return source


def write_config(folder: Path) -> Path:
    config = folder / "config.yaml"
    config.write_text(
        f"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: {CLUSTER_CIDRS[0]}\n"
    )
    return config


def probe_pairs(lab: Lab, pairs: Iterable[Pair]) -> Mapping[str, Answers]:
    """Every answer to each pair's connections: the first alone (affinity is settled by it), then the others.

    Where not yet every recorded endpoint has answered, more connections follow; an answer once seen stays seen.
    """
    pairs = list(pairs)
    seen: dict[str, Answers] = {pair.key: Counter() for pair in pairs}
    add(lab, seen, pairs, 1)
    add(lab, seen, pairs, CONNECTIONS - 1)
    add(lab, seen, [pair for pair in pairs if not pair.kept and set(seen[pair.key]) < pair.seen], ENOUGH)
    return seen


def add(lab: Lab, seen: Mapping[str, Answers], pairs: Iterable[Pair], count: int) -> None:
    asked: dict[Machine, list[Pair]] = {}
    for pair in pairs:
        asked.setdefault(client_of(lab, pair), []).append(pair)
    probes = {machine: [target(pair, machine, lab, count) for pair in some] for machine, some in asked.items()}
    for machine, answers in probe_all(probes, lab.controls()).items():
        for pair, answer in zip(asked[machine], answers, strict=True):
            seen[pair.key].update(answer)


def client_of(lab: Lab, pair: Pair) -> Machine:
    client = pair.key.partition(" -> ")[0]
    return {"pod-here": lab.pod_here, "node": lab.node, "outside": lab.outside, "outside-2": lab.outside}[client]


def target(pair: Pair, machine: Machine, lab: Lab, count: int) -> Target:
    packet = pair.packet
    # The node chooses its source itself, as its programs do.
    source = None if machine is lab.node else packet.source
    return Target(packet.destination, packet.port, str(packet.protocol), source, count)


def wanted(pair: Pair, backend: str) -> frozenset[str]:
    return DIFFERENCES[backend][pair.key][0] if pair.key in DIFFERENCES[backend] else pair.seen


def agrees(pair: Pair, seen: Mapping[str, Answers], backend: str) -> bool:
    answers = set(seen[pair.key])
    if "/unlisted/" in pair.key and answers == {UNREACHABLE}:
        # What nobody takes goes to and fro between node and outside until its time to live is used up. A pod is told
        # so by ICMP, which the records count as silence: it refuses nothing.
        answers = {NONE}
    if pair.kept:
        return len(answers) == 1 and answers.pop().startswith((PODS["pod-here"][0], PODS["pod-there"][0], "10.64.2."))
    return answers == wanted(pair, backend)
