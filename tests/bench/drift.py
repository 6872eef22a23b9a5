"""`scripts/bench drift`: what a look at the kernel costs, and how long drift stands before it is put right.

The first by a child in a network namespace of its own, which programs a cluster and looks at it; the second with a
running agent in the laboratory, whose log says when the rules stand again.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kproxy.core.model import Kind
from kproxy.core.values import Family
from kproxy.sync import suspected, sync_family
from lab.agent import agent
from lab.topology import laboratory
from tests.bench import cluster
from tests.bench.subject import FILES, listed, opened

LOOKS, TAMPERINGS = 5, 8
SHOP = Path("examples/shop")
TAMPER = {
    "nftables": ("nft", "flush", "chain", "ip", "kproxy", "dispatch"),
    "iptables": ("iptables", "-t", "nat", "-F", "KPROXY-SERVICES"),
}


def report(backends: list[str], services: list[int], endpoints: int) -> str:
    """Both, for people."""
    lines = ["A look at the kernel that finds all as it was left (read, compare):"]
    for backend in backends:
        lines += [f"  {backend:9} {count:6} Services: {look(backend, count, endpoints)}" for count in services]
    lines.append("Drift, from the start of the program that makes it until it is put right:")
    lines += [f"  {backend:9} {latency(backend)}" for backend in backends]
    return "\n".join(lines)


def look(backend: str, services: int, endpoints: int) -> str:
    """The time that a look takes; measured in a namespace of its own."""
    command = ["unshare", "--net", sys.executable, "-m", "tests.bench.drift", backend, str(services), str(endpoints)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return f"{found['s'] * 1000:.0f} ms, of which {found['cpu_s'] * 1000:.0f} ms are processor time"


def latency(backend: str) -> str:
    """How long drift stands on a node of few Services."""
    took = []
    options = ("--config", "examples/config.yaml", "--backend", backend)
    with laboratory() as lab, agent(lab.node, SHOP, *options) as running:
        for _ in range(TAMPERINGS):
            since, began = len(running.entries), time.monotonic()
            lab.node.run(*TAMPER[backend])
            running.wait(lambda heard: any("put right" in one["event"] for one in heard), "that it is put right", since)
            took.append((time.monotonic() - began) * 1000)
    return f"median {statistics.median(took):.0f} ms, longest {max(took):.0f} ms of {TAMPERINGS}"


def measure(backend: str, services: int, endpoints: int) -> dict[str, float]:
    """Program a cluster, then look at it some times; the median."""
    with tempfile.TemporaryDirectory(prefix="kproxy-bench-") as directory:
        Path(directory, FILES[Kind.SERVICE]).write_bytes(cluster.service_list(services))
        Path(directory, FILES[Kind.ENDPOINT_SLICE]).write_bytes(cluster.slice_list(services, endpoints))
        events = [listed(kind, Path(directory, name).read_bytes()) for kind, name in FILES.items()]
    subject = opened(backend)
    subject.sync(events)
    looks, cpu = [], []
    for _ in range(LOOKS):
        began, used = time.monotonic(), processor_s()
        done = sync_family(
            suspected(subject.world),
            subject.snapshot,
            subject.settings,
            subject.host,
            Family.IPV4,
            subject.backend,
            subject.kernel,
        )
        assert done.observed
        assert not done.change
        subject.world = done.world
        looks.append(time.monotonic() - began)
        cpu.append(processor_s() - used)
    return {"s": statistics.median(looks), "cpu_s": statistics.median(cpu)}


def processor_s() -> float:
    """What this process and the programs that it started have used."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))) + "\n")
