"""scripts/bench: our layout and kube-proxy's, side by side, on this machine; `scripts/bench conntrack`: our reading of
the table of connections beside conntrack(8)'s; `scripts/bench agent`: a whole agent against a fake API server;
`scripts/bench drift`: a look at the kernel, and how soon drift is put right.

Each figure comes from a fresh process in a network namespace of its own. What
is measured of ours: a Python process that reads the API's list bodies from
files, decodes, folds, plans, compiles and programs (all but HTTP); of
kube-proxy: its rules alone, loaded by the same tool (no process, no API). So
the ratio of the two start figures flatters kube-proxy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.kernel import has_ipvs
from tests.bench import agent, cluster, connections, drift, elsewhere
from tests.bench.report import show

CONNTRACK, AGENT, DRIFT = "conntrack", "agent", "drift"
IPVS = "ipvs"
SMALL = 100
"""The cluster whose first packets the others' are held against."""

Result = dict[str, Any]


def main() -> None:
    """Measure, print a table, write JSON."""
    options = _options(sys.argv[1:])
    if os.geteuid() != 0:
        sys.exit("bench: needs root, for network namespaces of its own")
    if options.what == DRIFT:
        sys.stdout.write(drift.report(options.backend.split(","), options.services, options.endpoints) + "\n")
        return
    if options.what == CONNTRACK:
        sys.stdout.write(connections.report(options.flows) + "\n")
        return
    if options.what == AGENT:
        backends = options.backend.split(",")
        table = agent.report(backends, options.services, options.endpoints, options.heartbeats, options.seconds)
        sys.stdout.write(table + "\n")
        return
    if IPVS in options.backend.split(",") and not has_ipvs():
        sys.exit(elsewhere.in_user_mode_linux(sys.argv[1:]))
    sizes = sorted({SMALL, *options.services})
    results = {
        backend: {size: _compare(backend, size, options) for size in sizes} for backend in options.backend.split(",")
    }
    report = {"machine": _machine(), "endpoints": options.endpoints, "results": results}
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure kproxy beside kube-proxy's rule layout, or `kproxy conntrack` beside conntrack(8). "
        "Needs root: everything happens in network namespaces of its own.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=["rules", CONNTRACK, AGENT, DRIFT],
        default="rules",
        help="rules (the default): Services programmed, changed and met by packets; "
        "conntrack: a filled table listed and counted, nf_conntrack_max raised meanwhile; "
        "agent: start, memory and processor time of a running agent; "
        "drift: what a look at the kernel costs, and how long others' changes stand",
    )
    rules = parser.add_argument_group("rules")
    rules.add_argument(
        "--backend", default="iptables", help="iptables, nftables, ipvs, or several with commas between (%(default)s)"
    )
    rules.add_argument(
        "--services", default="1000,5000,10000", type=_numbers, help="sizes, with commas between (%(default)s)"
    )
    rules.add_argument("--endpoints", default=5, type=int, help="endpoints per Service (%(default)s)")
    rules.add_argument(
        "--reference-limit", default=120, type=int, metavar="S", help="give kube-proxy's rules so long (%(default)s)"
    )
    rules.add_argument("--json", metavar="FILE", help="write all figures there")
    table = parser.add_argument_group("conntrack")
    table.add_argument("--flows", default=connections.FLOWS, type=int, help="flows in the table (%(default)s)")
    life = parser.add_argument_group("agent")
    life.add_argument("--heartbeats", default=100, type=int, help="updates a second without news (%(default)s)")
    life.add_argument("--seconds", default=20.0, type=float, help="how long each load lasts (%(default)s)")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _compare(backend: str, services: int, options: argparse.Namespace) -> Result:
    _say(f"{backend}: {services} Services x {options.endpoints}, ours")
    with tempfile.TemporaryDirectory(prefix="kproxy-bench-") as directory:
        Path(directory, "services.json").write_bytes(cluster.service_list(services))
        Path(directory, "endpointslices.json").write_bytes(cluster.slice_list(services, options.endpoints))
        ours = _child("subject", [backend, services, options.endpoints, directory, time.monotonic()], limit_s=600)
    _say(f"{backend}: {services} Services x {options.endpoints}, kube-proxy's layout")
    reference = _child(f"reference_{backend}", [services, options.endpoints], options.reference_limit)
    return {"ours": ours, "reference": reference}


def _child(module: str, arguments: Sequence[object], limit_s: int) -> Result:
    """What the module prints, run in a namespace of its own; only `not_finished_in_s` if it takes too long."""
    command = ["unshare", "--net", sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)]
    # A session of its own, so that the tools it starts can be ended with it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"not_finished_in_s": limit_s}
    if process.returncode:
        sys.exit(f"bench: {module} failed")
    result: Result = json.loads(output.splitlines()[-1])
    return result


def _machine() -> Mapping[str, object]:
    return {
        "kernel": elsewhere.kernel(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "tools": [_version(tool) for tool in ("iptables", "nft")],
    }


def _version(tool: str) -> str:
    return subprocess.run([tool, "--version"], check=True, capture_output=True, text=True).stdout.split("\n")[0]


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


if __name__ == "__main__":
    main()
