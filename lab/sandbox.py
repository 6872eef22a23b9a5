"""The sandbox of `scripts/run`: kproxy on a node of namespaces, real HTTP requests, and a table of who answered.

It shows, it does not test: every figure printed is counted or measured in the
run itself. Nothing outside its own namespaces and its own temporary directory
is touched, and all of it goes when the program ends, in whatever way.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from lab import NONE
from lab.agent import Agent, agent
from lab.kernel import has_ipvs
from lab.machine import ROOT, Answers, LabError, Machine, Target, probe_all
from lab.topology import NODE_IPS, OUTSIDE_IPS, PODS, PORTS, SECOND_OUTSIDE_IPS, Lab, laboratory

EXAMPLES = ROOT / "examples"
BACKENDS = ("nftables", "iptables", "ipvs")
REQUESTS = 60
WIDTH = 80
BAR = 8
"""Characters of the longest bar."""
GONE = PODS["pod-there"][0]
"""The endpoint that is removed while the agent runs."""
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

NO_IPVS = """\
this kernel has no IPVS (module ip_vs); see it in one that has:
  scripts/uml .venv/bin/python -m lab.sandbox --backend ipvs"""

PICTURE = """\
  [cyan]pod[/] 10.64.1.10 ─┐                       ┌─ [cyan]outside[/] 192.0.2.100
                  ├─ [bold]node-a[/] 192.0.2.11 ───┤          203.0.113.7
  [cyan]pod[/] 10.64.1.11 ─┘  [bold]kproxy[/]               └─ node-b ── [cyan]pod[/] 10.64.2.1"""


@dataclass(frozen=True)
class Scene:
    """A client and what it asks for; `count` requests, each a new connection."""

    client: str
    source: str
    service: str
    frontend: str
    address: str
    port: int
    note: str
    count: int = REQUESTS


POD, CLIENT, STRANGER = PODS["pod-here"][0], SECOND_OUTSIDE_IPS[0], OUTSIDE_IPS[0]
SCENES = (
    Scene("pod", POD, "web", "ClusterIP", "10.96.0.80", 80, "any endpoint"),
    Scene("outside", STRANGER, "web", "NodePort", NODE_IPS[0], 30080, "any endpoint"),
    Scene("outside", CLIENT, "web", "LoadBalancer", "198.51.100.80", 80, "any endpoint"),
    Scene("outside", CLIENT, "login", "LoadBalancer", "198.51.100.81", 80, "policy Local"),
    Scene("outside", STRANGER, "login", "LoadBalancer", "198.51.100.81", 80, "not in its ranges", count=3),
    Scene("pod", POD, "no Service", "outside", CLIENT, PORTS[0], "egress masquerade"),
)


def requests(lab: Lab, scenes: Sequence[Scene]) -> list[Answers]:
    """Play the scenes, all at once, and count the answers."""
    machines = [lab.pod_here if scene.client == "pod" else lab.outside for scene in scenes]
    probes: dict[Machine, list[Target]] = {}
    for machine, scene in zip(machines, scenes, strict=True):
        probes.setdefault(machine, []).append(
            Target(scene.address, scene.port, "TCP", source=scene.source, count=scene.count)
        )
    answers = {machine: iter(found) for machine, found in probe_all(probes, lab.controls()).items()}
    return [next(answers[machine]) for machine in machines]


def answer_table(title: str, scenes: Sequence[Scene], found: Sequence[Answers]) -> Table:
    """Which endpoint answered how often, and what source it saw."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0)
    for heading, width in (("Client asks", 29), ("Answered by", 16), ("Times", BAR + 4), ("Source it saw", 18)):
        table.add_column(heading, width=width, no_wrap=True)
    for scene, answers in zip(scenes, found, strict=True):
        asks = [f"[cyan]{scene.client}[/] {scene.source}", f"{scene.frontend} {scene.address}:{scene.port}"]
        asks.append(f"[dim]{scene.service}: {scene.note}[/]")
        rows = [_answer_row(scene, text, times) for text, times in sorted(answers.items())]
        for number in range(max(len(asks), len(rows))):
            left = asks[number] if number < len(asks) else ""
            table.add_row(left, *(rows[number] if number < len(rows) else ("", "", "")))
        table.add_section()
    return table


def show(console: Console, table: Table) -> None:
    """Print it, without the blanks that fill its lines where no terminal shows them."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as caught:
        console.print(table)
    for line in caught.get().splitlines():
        console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _answer_row(scene: Scene, text: str, times: int) -> tuple[str, str, str]:
    bar = "█" * max(1, round(BAR * times / scene.count))
    if text == NONE:
        return "[red]nobody[/]", f"{times:3} [red]{bar}[/]", ""
    endpoint, _, source = text.partition(" ")
    if not source:
        return f"[red]{text}[/]", f"{times:3} [red]{bar}[/]", ""
    who = "[green]client[/]" if source == scene.source else "[yellow]node[/]"
    return endpoint, f"{times:3} [green]{bar}[/]", f"{source} {who}"


def remove_endpoint(running: Agent, manifest: Path) -> float:
    """Take an endpoint out of a manifest; how many milliseconds later the kernel had followed."""
    text = "".join(line for line in manifest.read_text().splitlines(keepends=True) if GONE not in line)
    with running.change("IPv4"):
        begin_s = time.monotonic()
        # As editors do it: the new file takes the old one's place at once.
        fresh = manifest.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(manifest)
    return (time.monotonic() - begin_s) * 1000


def play(console: Console, backend: str, folder: Path) -> None:
    """The whole show."""
    manifests = Path(shutil.copytree(EXAMPLES / "shop", folder / "shop"))
    console.print("[bold]A node, two pods on it, one elsewhere, and the outside: all network namespaces[/]\n")
    console.print(PICTURE, highlight=False)
    with laboratory() as lab:
        lab.outside.listen("TCP", PORTS[0])
        begin_s = time.monotonic()
        with agent(lab.node, manifests, "--backend", backend, "--config", str(EXAMPLES / "config.yaml")) as running:
            ready_ms = (time.monotonic() - begin_s) * 1000
            console.print(
                f"\n[bold]kproxy run --backend {backend} --source examples/shop[/]\n"
                f"IPv4 and IPv6 are programmed {ready_ms:.0f} ms after its start.\n",
                highlight=False,
            )
            show(console, answer_table("Real HTTP requests, a new connection each", SCENES, requests(lab, SCENES)))
            changed_ms = remove_endpoint(running, manifests / "web.yaml")
            console.print(
                f"Now [bold]{GONE}[/] is taken out of web.yaml. The kernel followed after {changed_ms:.0f} ms.\n",
                highlight=False,
            )
            scenes = [scene for scene in SCENES if scene.service == "web"]
            show(console, answer_table("The same requests again", scenes, requests(lab, scenes)))
    console.print("All of it is gone again. What kproxy did, and why, without root or a cluster:")
    for command in (
        "services",
        "plan",
        f"render --backend {backend}",
        f"explain --backend {backend} --flow {STRANGER},198.51.100.81:80/TCP",
        f"explain --backend {backend} --flow {POD},{CLIENT}:{PORTS[0]}/TCP",
    ):
        line = f"  .venv/bin/kproxy {command} -f examples/shop --config examples/config.yaml"
        console.print(line, highlight=False, soft_wrap=True)


def main() -> int | str:
    """Run the sandbox; the exit status, or what went wrong."""
    parser = argparse.ArgumentParser(prog="scripts/run", description="Show kproxy at work in network namespaces.")
    parser.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0], help="how to program the kernel")
    arguments = parser.parse_args()
    if arguments.backend == "ipvs" and not has_ipvs():
        return f"scripts/run: {NO_IPVS}"
    # Both end the program by an exception, so that every `with` above is left properly.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    console = Console(width=WIDTH if not sys.stdout.isatty() else None)
    try:
        with tempfile.TemporaryDirectory(prefix="kproxy-sandbox-") as folder:
            play(console, arguments.backend, Path(folder))
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is over: nothing is left to be interrupted
    except LabError as error:
        return f"scripts/run: {error}"
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; everything is gone again.\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
