"""`scripts/bench agent`: a whole `kproxy run` against the fake API server of the tests, in a namespace of its own.

Start to all programmed, memory (at rest, and its peak once every debug page has been built), and processor time while
nothing happens and while objects are updated that nobody uses anything of (heartbeats): user and system time of the
agent's process, as the kernel counts it, for the wall clock says nothing on a machine that does other work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kproxy.report.layout import aligned
from tests.e2e.pages import METRICS_PORT, get, is_ready, until
from tests.fakes.apiobjects import cluster
from tests.fakes.apiserver import ApiServer
from tests.fakes.apistore import Json
from tests.fakes.namespace import in_new_namespace

TICKS = os.sysconf("SC_CLK_TCK")
CALM_S = 5.0
"""How long after its start an agent is left alone before it is measured."""
PAGES = ("status", "services", "plan", "rules")
HEADINGS = ("Services", "backend", "start", "memory", "peak with pages", "idle", "heartbeats")


class Measured(NamedTuple):
    """Seconds, MB, and per cent of one processor."""

    start_s: float
    rss_mb: float
    peak_mb: float
    idle: float
    heartbeats: float


def report(backends: Sequence[str], sizes: Sequence[int], endpoints: int, per_second: int, seconds: float) -> str:
    """A table of all sizes and backends."""
    rows = []
    for backend in backends:
        for services in sizes:
            one = in_new_namespace(lambda: measure(backend, services, endpoints, per_second, seconds))  # noqa: B023
            percents = f"{one.idle:.1f} %", f"{one.heartbeats:.1f} % at {per_second}/s"
            memory = f"{one.rss_mb:.0f} MB", f"{one.peak_mb:.0f} MB"
            rows.append((f"{services} x {endpoints}", backend, f"{one.start_s:.2f} s", *memory, *percents))
    return "\n".join(aligned(HEADINGS, rows))


def measure(backend: str, services: int, endpoints: int, per_second: int, seconds: float) -> Measured:
    """One agent's life, in the calling thread's namespace."""
    objects = list(cluster(services, endpoints))
    with ApiServer() as server, tempfile.TemporaryDirectory(prefix="kproxy-bench-") as folder:
        server.put(*objects)
        path = Path(folder, "kubeconfig")
        path.write_text(json.dumps(server.kubeconfig()))
        began = time.monotonic()
        with started(backend, path) as process:
            until(lambda: process.poll() is not None or is_ready())
            if process.poll() is not None:
                raise SystemExit(f"bench: the agent ended with status {process.returncode}")
            start_s = time.monotonic() - began
            time.sleep(CALM_S)
            rss_mb = memory_mb(process.pid, "VmRSS")
            idle = percent(process.pid, lambda: time.sleep(seconds))
            slices = [one for one in objects if one["kind"] == "EndpointSlice"]
            heartbeats = percent(process.pid, lambda: beat(server, slices, per_second, seconds))
            for page in PAGES:
                get(METRICS_PORT, f"/debug/{page}")
            return Measured(start_s, rss_mb, memory_mb(process.pid, "VmHWM"), idle, heartbeats)


@contextmanager
def started(backend: str, kubeconfig: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An agent that is killed in the end."""
    command = [sys.executable, "-c", "from kproxy.cli import main; main()", "run", "--backend", backend]
    options = ["--kubeconfig", str(kubeconfig), "--node-name", "node-a", "--log-format", "json"]
    with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def beat(server: ApiServer, objects: Sequence[Json], per_second: int, seconds: float) -> None:
    """Update objects at a steady pace, by an absolute schedule, in nothing but an annotation."""
    began = time.monotonic()
    for number in range(int(per_second * seconds)):
        time.sleep(max(began + number / per_second - time.monotonic(), 0.0))
        one = objects[number % len(objects)]
        metadata = {**one["metadata"], "annotations": {"example.com/heartbeat": str(number)}}
        server.put({**one, "metadata": metadata})


def percent(process: int, pastime: Callable[[], None]) -> float:
    """How busy a process keeps one processor meanwhile."""
    began, before = time.monotonic(), processor_s(process)
    pastime()
    return 100 * (processor_s(process) - before) / (time.monotonic() - began)


def processor_s(process: int) -> float:
    """User and system time so far."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def memory_mb(process: int, field: str) -> float:
    """VmRSS or VmHWM."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
