"""A table of hundreds of thousands of flows, cleaned and counted over several rounds while syncs go on.

`scripts/soak conntrack [--flows N] [--rounds N]`, as root. The flows are entered by netlink
into a namespace of their own, as many as nf_conntrack_max has room for; that
limit is the whole machine's and stays as it is.

In each round the endpoints of a tenth of the Services are replaced. The worker
must then remove their UDP flows and no other flow, while syncs go on.
"""

from __future__ import annotations

import argparse
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from conntrack.cleaner import Cleaned, Cleaner
from conntrack.layout import UDP
from conntrack.requests import Selection
from conntrack.stats import Tally
from conntrack.table import Table
from kproxy.core.plan import NodePlan, ServicePlan
from kproxy.core.values import Family, ObjectKey, Protocol
from tests.bench.connections import ENDPOINTS, FLOWS, KPROXY, LIMIT, SERVICES, TCP_PORTION, fill
from tests.fakes.namespace import in_new_namespace
from tests.unit.conntrack.cluster import at, plan, port

PARTS = 10
"""One of so many Services loses its endpoints in a round."""
ROOM = 0.9
"""What part of the limit is filled."""
SYNC_EVERY_S, PATIENCE_S = 0.02, 300.0
CLEANING_MIB, COMMAND_MIB = 64, 16
"""How much more memory the worker may take for the whole table, and a command than for an empty one."""
HELD_UP_S = 1.0
"""No call of a sync may take longer; far above what it takes, for machines with other work."""
NODE = frozenset({"127.0.0.1"})


class BrokenPromise(Exception):
    """What a soak is run to find."""


def soak(flows: int, rounds: int, say: Callable[[str], None]) -> None:
    """Tell what is seen, line by line; BrokenPromise at the first that should not be."""
    empty = {name: in_new_namespace(partial(_peak_mib, name))[0] for name in ("stats", "list")}

    def inside() -> None:
        for line in _soak(flows, rounds, empty):
            say(line)

    in_new_namespace(inside)


def room(flows: int) -> int:
    """So many flows, or as many as this machine's limit allows."""
    limit = int(LIMIT.read_text())
    return min(flows, int(limit * ROOM)) if limit else flows


def _soak(flows: int, rounds: int, empty_mib: dict[str, float]) -> Iterator[str]:
    start = time.monotonic()
    fill(flows)
    yield f"{flows} flows entered in {time.monotonic() - start:.1f} s"
    _hold(_entries() == flows, "the table is not as it was filled")
    for name, before in empty_mib.items():
        peak, lines = _peak_mib(name)
        yield f"kproxy conntrack {name}: {peak:.0f} MiB at most, {before:.0f} MiB for an empty table"
        _hold(peak - before <= COMMAND_MIB, f"{name} takes more memory for a large table")
        _hold(name != "list" or lines == flows + 1, f"list shows {lines} lines")
    yield from _clean(flows, rounds)


def _clean(flows: int, rounds: int) -> Iterator[str]:
    reports: queue.SimpleQueue[Cleaned] = queue.SimpleQueue()
    cleaner = Cleaner(reports.put)
    cleaner.start()
    try:
        left = flows
        for number in range(rounds + 1):  # in the first nothing is stale
            wanted = _stale(flows, number - 1)
            _forget_peak()
            before_mib, used, start = _memory_mib("VmRSS"), time.process_time(), time.monotonic()
            deleted, looks, held_s = _round(cleaner, reports, _plan(number), wanted)
            wall, spent = time.monotonic() - start, time.process_time() - used
            more_mib = _memory_mib("VmHWM") - before_mib
            left -= wanted
            yield (
                f"round {number}: {deleted} removed in {looks} looks and {wall:.1f} s, {spent:.1f} s "
                f"of processor, {more_mib:.0f} MiB more at most; a sync's call took {held_s * 1000:.1f} ms at most"
            )
            _hold(deleted == wanted, f"{wanted} flows should have been removed")
            _hold(_entries() == left, f"{left} flows should be left, not {_entries()}")
            _hold(more_mib <= CLEANING_MIB, "cleaning takes more memory for a large table")
            _hold(held_s <= HELD_UP_S, "a sync was held up")
    finally:
        cleaner.stop()
    _hold(_to_dead_endpoints(rounds) == 0, "flows to dead endpoints are left")
    yield "no other flow was touched, none to a dead endpoint is left"


def _round(
    cleaner: Cleaner, reports: queue.SimpleQueue[Cleaned], made: NodePlan, wanted: int
) -> tuple[int, int, float]:
    """Put a plan in force and sync on until the looks are over: flows removed, looks, the longest call in seconds."""
    deleted = looks = 0
    longest, until = 0.0, time.monotonic() + PATIENCE_S
    while looks == 0 or deleted < wanted:
        _hold(time.monotonic() < until, f"{deleted} of {wanted} flows were removed in {PATIENCE_S:.0f} s")
        start = time.monotonic()
        cleaner.changing(Family.IPV4)
        cleaner.applied(made, NODE)
        longest = max(longest, time.monotonic() - start)
        try:
            one = reports.get(timeout=SYNC_EVERY_S)
        except queue.Empty:
            continue
        _hold(not one.error and not one.undecodable, f"a look failed: {one}")
        deleted, looks = deleted + one.deleted, looks + 1
    return deleted, looks, longest


def _plan(number: int) -> NodePlan:
    """The Services of `fill` by UDP; those of all parts below `number` have other endpoints."""
    services = []
    for service in range(SERVICES):
        net = 64 if service % PARTS >= number else 128
        serving = [f"{_address(net, service * ENDPOINTS + one)}:8080" for one in range(ENDPOINTS)]
        ports = (port(Protocol.UDP, (at(_address(96, service), 80),), *serving),)
        services.append(ServicePlan(ObjectKey("soak", f"svc-{service}"), ports))
    return plan(*services)


def _address(net: int, number: int) -> str:
    return f"10.{net + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _stale(flows: int, part: int) -> int:
    """How many of `fill`'s flows are UDP and to the Services of a part."""
    return sum(1 for number in range(0, flows, TCP_PORTION) if number % SERVICES % PARTS == part)


def _to_dead_endpoints(rounds: int) -> int:
    tally = Tally(clients=False)
    with Table() as table:
        for batch in table.batches(Selection(protocol=UDP)):
            tally.add(batch)
    dead = {_address(96, service) for service in range(SERVICES) if service % PARTS < rounds}
    return sum(
        flows for key, flows in tally.flows() if key.protocol == UDP and ".".join(map(str, key.destination)) in dead
    )


def _entries() -> int:
    """By conntrack-tools."""
    return int(subprocess.run(["conntrack", "-C"], capture_output=True, text=True, check=True).stdout)


def _peak_mib(name: str) -> tuple[float, int]:
    """The peak of memory of a command, and how many lines it printed."""
    with subprocess.Popen([KPROXY, "conntrack", name], stdout=subprocess.PIPE) as command:
        lines = sum(1 for _ in command.stdout or ())
        _, status, used = os.wait4(command.pid, 0)
        command.returncode = os.waitstatus_to_exitcode(status)
    _hold(command.returncode == 0, f"kproxy conntrack {name} failed")
    return used.ru_maxrss / 1024, lines


def _memory_mib(what: str) -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _hold(kept: object, broken: str) -> None:
    if not kept:
        raise BrokenPromise(broken)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak conntrack", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--flows", type=int, default=FLOWS, help="default %(default)s, as far as there is room")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, PARTS + 1), metavar=f"1-{PARTS}")
    asked = parser.parse_args(arguments)
    flows = room(asked.flows)
    if flows < asked.flows:
        _say(f"nf_conntrack_max has room for {flows} flows, not {asked.flows}")
    try:
        soak(flows, asked.rounds, _say)
    except BrokenPromise as error:
        _say(f"BROKEN: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
