"""The child that is measured: from process start to everything programmed, then changes, memory and packets.

Runs in a network namespace of its own (`unshare --net`). The cluster comes as
API list bodies from a directory, decoded and folded as a real list is; what
is not in the figures is HTTP. The last line of its output is a JSON object.
"""

from __future__ import annotations

import gc
import importlib
import ipaddress
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from kproxy.core.envelope import decode_list, read_object
from kproxy.core.host import Host, Settings
from kproxy.core.model import Event, Kind
from kproxy.core.reading import read_items, replaced
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family
from kproxy.ports import Backend, Kernel
from kproxy.sync import World, sync_family
from tests.bench import cluster

CHANGES = 20
FILES = {Kind.SERVICE: "services.json", Kind.ENDPOINT_SLICE: "endpointslices.json"}


class Agent:
    """One family's sync without the agent's threads: the same passes, driven by hand."""

    def __init__(self, backend: Backend, kernel: Kernel) -> None:
        self.backend, self.kernel = backend, kernel
        self.settings = Settings(cluster_cidrs=(ipaddress.ip_network(cluster.POD_RANGE),))
        self.host = Host(cluster.NODE, ("192.0.2.11",), frozenset({"127.0.0.1", "192.0.2.11"}))
        self.snapshot, self.world = Snapshot(), World()

    def sync(self, events: list[Event]) -> None:
        """One pass."""
        self.snapshot = fold(self.snapshot, events)
        done = sync_family(self.world, self.snapshot, self.settings, self.host, Family.IPV4, self.backend, self.kernel)
        if done.error:
            raise done.error
        assert not done.outcome.refusals
        self.world = done.world


def opened(backend_name: str) -> Agent:
    """An agent with a backend of that name, in the namespace of this process."""
    backend = cast("Backend", importlib.import_module(f"backends.{backend_name}").BACKEND)
    return Agent(backend, backend.open(Family.IPV4))


def listed(kind: Kind, body: bytes) -> Event:
    """The event that a whole list is."""
    batch, errors = read_items(kind, decode_list(body).items or [])
    assert not errors
    return replaced(kind, [batch])


def changes(services: int, endpoints: int) -> Iterator[bytes]:
    """EndpointSlices in each of which one endpoint was replaced by a new one, spread over the cluster."""
    for number in range(CHANGES):
        service = number * services // CHANGES
        first, fresh = service * endpoints, cluster.fresh_endpoint(services, endpoints, service)
        yield json.dumps(cluster.endpoint_slice(service, [fresh, *range(first + 1, first + endpoints)])).encode()


def measure(backend_name: str, services: int, endpoints: int, directory: Path, started: float) -> dict[str, Any]:
    """Everything, in the order in which it happens to an agent."""
    imported = time.monotonic()
    agent = opened(backend_name)
    events = [listed(kind, (directory / name).read_bytes()) for kind, name in FILES.items()]
    decoded = time.monotonic()
    agent.sync(events)
    programmed = time.monotonic()
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    del events
    changed = [change_ms(agent, raw) for raw in changes(services, endpoints)]
    return {
        "imports_s": imported - started,
        "decoded_s": decoded - started,
        "programmed_s": programmed - started,
        "cpu_s": sum(one.ru_utime + one.ru_stime for one in usage),
        "change_ms": statistics.median(changed),
        "slowest_change_ms": max(changed),
        "rss_mb": resident_mb(),
        "peak_rss_mb": usage[0].ru_maxrss / 1024,
    }


def change_ms(agent: Agent, raw: bytes) -> float:
    """From the bytes of a watch event's object to the rules in the kernel."""
    began = time.monotonic()
    event = read_object(Kind.ENDPOINT_SLICE, msgspec.Raw(raw))
    agent.sync([cast("Event", event)])
    return (time.monotonic() - began) * 1000


def resident_mb() -> float:
    """The process's resident memory now."""
    gc.collect()
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Arguments: backend, Services, endpoints per Service, directory, monotonic time of the process's start."""
    backend, services, endpoints, directory, started = sys.argv[1:]
    began = time.monotonic()
    # As on every node: IPVS takes no endpoint before.
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    made = time.monotonic() - began
    result = measure(backend, int(services), int(endpoints), Path(directory), float(started) + made)
    from tests.bench import packets  # noqa: PLC0415 - only now, so that it weighs on nothing above

    result["connect_us"] = packets.measure(int(services), int(endpoints))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
