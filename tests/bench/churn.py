"""Random changes of Services and endpoints while traffic flows: nothing may grow, no connection be lost.

`scripts/soak [agent] [--minutes 30] [--backend NAME] [--png FILE]`, as root, in a laboratory of its own. One Service
has connections from outside all the time, and its endpoints come and go among three that always answer. Others around
it are made, changed and removed. Sampled: the agent's memory (PSS), threads and open files, the time of a new
connection, and the time from a change of the files to rules that follow it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from lab.agent import AGAIN
from lab.topology import NODE_IPS
from tests.bench.plot import Panel, plot
from tests.e2e.world import FAMILIES, Vip, World, endpoint, endpoint_slice, everywhere, fresh_vip, service, world

PATIENCE_S = 180.0
PER_SECOND, SERVICES, EVERY_S = 50, 60, 1.0
WARM_UP = 0.25
"""What part of the time is not judged: caches fill, the interpreter's memory finds its size."""
CHANGES_FOR_ONE_LOST = 100
"""A first packet may meet the maps of nftables in the middle of their change: docs/decisions/1905."""
MOST_MIB, MOST_THREADS, MOST_FILES, MOST_SLOWER = 8.0, 1.0, 4.0, 3.0
"""By how much the trend of the rest may grow; the last: how many times slower the last quarter may be, and 50 ms."""


class BrokenPromise(Exception):
    """What a soak is run to find."""


class Sample(NamedTuple):
    """What the agent holds at a moment, in seconds since the beginning."""

    at_s: float
    memory_mib: float
    threads: int
    files: int


class Soaked(NamedTuple):
    """All that was seen."""

    samples: list[Sample]
    changes_ms: list[tuple[float, float]]
    """When, and how long it took from the file to the rules."""
    pulses: list[tuple[float, dict[str, Any]]]


def sample(process: int, at_s: float) -> Sample:
    """Of a process and its threads now."""
    proc = Path(f"/proc/{process}")
    (pss,) = (line for line in (proc / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    return Sample(at_s, int(pss.split()[1]) / 1024, *(len(list((proc / kind).iterdir())) for kind in ("task", "fd")))


def trend(points: Sequence[tuple[float, float]]) -> float:
    """By how much the points grow over their whole time: Theil and Sen's slope, which no outlier moves."""
    slopes = [(y - b) / (x - a) for n, (a, b) in enumerate(points) for x, y in points[n + 1 :] if x > a]
    return statistics.median(slopes) * (points[-1][0] - points[0][0]) if slopes else 0.0


def judged(seen: Soaked) -> Iterator[str]:
    """What is broken: growth, or a connection that was not answered."""
    last_s = seen.samples[-1].at_s
    rest = [one for one in seen.samples if one.at_s >= last_s * WARM_UP]
    rest = rest[:: max(1, len(rest) // 300)]  # the trend looks at every pair
    for what, most in ("memory_mib", MOST_MIB), ("threads", MOST_THREADS), ("files", MOST_FILES):
        grown = trend([(one.at_s, getattr(one, what)) for one in rest])
        if grown > most:
            yield f"{what} grew by {grown:.1f} in {last_s:.0f} s"
    results = Counter[str]()
    for _, pulse in seen.pulses:
        results.update(pulse["results"])
    if results.total() - results["answered"] > 1 + len(seen.changes_ms) // CHANGES_FOR_ONE_LOST:
        yield f"connections: {dict(results)} in {len(seen.changes_ms)} changes"
    if not results["answered"]:
        yield "no connection was answered"


def slower(points: Sequence[tuple[float, float]]) -> bool:
    """Whether the last quarter is far slower than the second one; not for machines with other work."""
    last_s = points[-1][0]
    parts = [[y for x, y in points if low * last_s <= x <= high * last_s] for low, high in ((0.25, 0.5), (0.75, 1.0))]
    before, after = (statistics.median(part) if part else 0.0 for part in parts)
    return after > before * MOST_SLOWER + 50


def soak(backend: str, seconds: float, chance: random.Random, say: Callable[[str], None]) -> Soaked:
    """Run it, and return what was seen."""
    with tempfile.TemporaryDirectory(prefix="kproxy-soak-") as folder, world(backend, Path(folder)) as node:
        vip = fresh_vip()
        served = service("steady", vip, 0, type="NodePort")
        node.put("steady", 0, served, _slices("steady", everywhere(0)))
        seen = Soaked([], [], [])
        began = time.monotonic()
        with _traffic(node, vip.node_port, seen, began):
            alive: dict[str, Any] = {}
            while (at_s := time.monotonic() - began) < seconds:
                name, objects = _change(chance, alive, served, vip)
                seen.changes_ms.append((at_s, _applied_ms(node, name, objects)))
                if not seen.samples or at_s - seen.samples[-1].at_s >= EVERY_S:
                    seen.samples.append(sample(node.agent.process.pid, at_s))
                    if len(seen.samples) % 60 == 0:
                        say(f"{at_s:.0f} s: {len(seen.changes_ms)} changes, {seen.samples[-1].memory_mib:.1f} MiB")
        errors = [one for one in node.agent.entries if one.get("level") in ("error", "critical")]
    if errors:
        raise BrokenPromise(f"the agent logged {len(errors)} errors, first: {errors[0]}")
    return seen


def _slices(name: str, addresses: Sequence[str]) -> Any:
    return endpoint_slice(name, 0, *map(endpoint, addresses))


def _change(chance: random.Random, alive: dict[str, Any], served: Any, fresh: Vip) -> tuple[str, list[Any]]:
    """What to write next: a file's name, and its objects, none to remove it. It always differs from what stands."""
    if chance.random() < 0.2:
        name, addresses = "steady", sorted(chance.sample(everywhere(0), chance.randint(1, 3)))
        if alive.get(name, sorted(everywhere(0))) != addresses:
            alive[name] = addresses
            return name, [served, _slices(name, addresses)]
    name = f"churn-{chance.randrange(SERVICES)}"
    if name in alive and chance.random() < 0.5:
        del alive[name]
        return name, []
    number = int(name.partition("-")[2])
    addresses = sorted(
        {f"10.64.{chance.randrange(3, 9)}.{chance.randrange(1, 250)}" for _ in range(chance.randint(1, 8))}
    )
    while alive.get(name) == addresses:
        addresses = [f"10.64.3.{chance.randrange(1, 250)}"]
    alive[name] = addresses
    churned = service(name, fresh, 0, clusterIP=f"10.96.9.{number + 1}")
    return name, [churned, _slices(name, addresses)]


def _applied_ms(node: World, name: str, objects: list[Any]) -> float:
    """Write or remove the file, and wait for the rules."""
    since, began = len(node.agent.entries), time.monotonic()
    if objects:
        node.write(name, {"apiVersion": "v1", "kind": "List", "items": objects})
    else:
        (node.folder / f"{name}.json").unlink()
    node.agent.wait(
        lambda heard: any(one.get("event") == AGAIN and one["family"] == FAMILIES[0] for one in heard),
        f"{AGAIN} after {name}",
        since,
        PATIENCE_S,
    )
    return (time.monotonic() - began) * 1000


@contextmanager
def _traffic(node: World, port: int, seen: Soaked, began: float) -> Iterator[None]:
    """Connections from outside until the block ends, told each second."""
    words = (sys.executable, "-m", "tests.bench.pulse", NODE_IPS[0], str(port), str(PER_SECOND))
    command = node.lab.outside.command(words)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=_hear, args=(process.stdout, seen, began), daemon=True)
        reader.start()
        try:
            yield
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE_S)
            reader.join(PATIENCE_S)
        finally:
            process.kill()


def _hear(lines: IO[str], seen: Soaked, began: float) -> None:
    for line in lines:
        seen.pulses.append((time.monotonic() - began, json.loads(line)))


def picture(seen: Soaked, title: str) -> bytes:
    """The PNG: memory, connections, changes."""
    return plot(
        (
            Panel(f"{title}: memory in MiB (PSS)", [[(one.at_s, one.memory_mib) for one in seen.samples]]),
            Panel(
                "new connections in ms, median (blue), worst of a second (red)",
                [[(at_s, one[key]) for at_s, one in seen.pulses] for key in ("median_ms", "worst_ms")],
            ),
            Panel("from a change to the rules in ms", [seen.changes_ms]),
        )
    )


def summary(seen: Soaked) -> str:
    """One line of figures."""
    memory, took = [one.memory_mib for one in seen.samples], sorted(took for _, took in seen.changes_ms)
    connections = sum(sum(one["results"].values()) for _, one in seen.pulses)
    answered = sum(one["results"].get("answered", 0) for _, one in seen.pulses)
    return (
        f"{len(took)} changes, median {statistics.median(took):.0f} ms, 99 % {took[int(len(took) * 0.99)]:.0f} ms; "
        f"{connections} connections, {connections - answered} not answered, "
        f"median {statistics.median(one['median_ms'] for _, one in seen.pulses):.1f} ms; "
        f"memory {memory[0]:.1f} MiB at first, {max(memory):.1f} at most, {memory[-1]:.1f} at last"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="scripts/soak agent", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="default %(default)s; 2 for a short one")
    parser.add_argument("--backend", choices=("nftables", "iptables", "ipvs"), default="nftables")
    parser.add_argument("--png", type=Path, default=Path("build/soak.png"), help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the changes; default %(default)s")
    asked = parser.parse_args(arguments)
    try:
        seen = soak(asked.backend, asked.minutes * 60, random.Random(asked.seed), _say)
    except BrokenPromise as error:
        _say(f"BROKEN: {error}")
        return 1
    asked.png.parent.mkdir(parents=True, exist_ok=True)
    asked.png.write_bytes(picture(seen, asked.backend))
    _say(f"{summary(seen)}\n{asked.png}")
    broken = list(judged(seen))
    latencies = {"connections": [(at_s, one["median_ms"]) for at_s, one in seen.pulses], "changes": seen.changes_ms}
    broken += [f"{what} became slower, see the picture" for what, points in latencies.items() if slower(points)]
    for one in broken:
        _say(f"BROKEN: {one}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
