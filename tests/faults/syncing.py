"""Syncs one state of the cluster after the other, and is killed time and again, each time at a random point of a sync.

A program: it reads an order in JSON (`backend`, `states`, each a list of objects, `kills`, `seed`) and says in JSON
what stood after each kill: the number of a state, or -1 if it was none of them. The first state stands in the end. One
process loads the code and divides itself for each life, so that a life takes as long as its syncs.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from kproxy.core.document import diff
from kproxy.core.host import Host, Settings
from kproxy.core.model import Kind, Replaced
from kproxy.core.parse import convert, parse_object
from kproxy.core.planner import plan_node
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family
from kproxy.effects.network import local_addresses
from kproxy.sync import World, sync_family
from kproxy.wiring.backends import Chosen, choose

FAMILY = Family.IPV4
NODE = "node-a"
PATIENCE_S = 60.0


def snapshot_of(objects: Sequence[dict[str, Any]]) -> Snapshot:
    """What the cluster is, complete."""
    items = {kind: [convert(kind, one) for one in objects if one["kind"] == kind] for kind in Kind}
    parsed = {kind: [found for one in shapes if (found := parse_object(kind, one))] for kind, shapes in items.items()}
    return fold(Snapshot(), [Replaced(kind, tuple(found)) for kind, found in parsed.items()])


def sync(chosen: Chosen, world: World, snapshot: Snapshot) -> World:
    """One sync; after one that fails the next one looks at the kernel first."""
    host = Host(NODE, (), local_addresses())
    return sync_family(world, snapshot, Settings(), host, FAMILY, chosen.backend, chosen.kernels[FAMILY]).world


def live(backend: str, snapshots: Sequence[Snapshot], told: int) -> None:
    """Look at the kernel, then sync for ever; a byte to `told` before each sync."""
    chosen, world = choose(backend, (FAMILY,)), World()
    for snapshot in itertools.cycle(snapshots):
        os.write(told, b".")
        world = sync(chosen, world, snapshot)


def standing(backend: str, snapshots: Sequence[Snapshot]) -> int:
    """Which state's rules stand."""
    chosen, host = choose(backend, (FAMILY,)), Host(NODE, (), local_addresses())
    have = chosen.kernels[FAMILY].observe()
    chosen.kernels[FAMILY].close()
    for number, snapshot in enumerate(snapshots):
        planned = plan_node(snapshot, Settings(), host, chosen.backend.traits, FAMILY, None)
        if not diff(have, chosen.backend.compile(planned.plan, None).document):
            return number
    return -1


def settled(backend: str, snapshots: Sequence[Snapshot]) -> int:
    """As `standing`; an iptables-restore that has begun is given the time to end."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = standing(backend, snapshots)
        if found >= 0 or backend == "nftables" or time.monotonic() > until:
            return found


def kill_in_a_sync(backend: str, snapshots: Sequence[Snapshot], chance: random.Random) -> None:
    """One life: it ends between the beginning of a sync, one of the first three, and as long after it as it took."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        live(backend, snapshots, told)
    os.close(told)
    began = time.monotonic()
    for _ in range(chance.randint(2, 4)):
        began, before = time.monotonic(), began
        if not os.read(heard, 1):
            sys.exit("a life ended by itself")
    time.sleep(chance.random() * (began - before))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(heard)


def main() -> None:
    order = json.load(sys.stdin)
    backend, chance = order["backend"], random.Random(order["seed"])
    snapshots = [snapshot_of(objects) for objects in order["states"]]
    found = []
    for number in range(order["kills"]):
        kill_in_a_sync(backend, snapshots[number % 2 :] + snapshots[: number % 2], chance)
        found.append(settled(backend, snapshots))
    chosen, world, until = choose(backend, (FAMILY,)), World(), time.monotonic() + PATIENCE_S
    while world.applied is None and time.monotonic() < until:
        world = sync(chosen, world, snapshots[0])
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
