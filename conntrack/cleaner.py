"""The agent's clean-up worker: a thread that removes stale flows after syncs, by level, and never holds one up.

Rules kept: what is in force decides, so nothing is removed while a sync is under
way or after one has failed, and every flow is judged again by the newest plan
right before it goes; the table is looked at at the start, whenever frontends or
serving endpoints have changed, when a drain is due, and every few minutes; the
thread takes at most a share of one processor; an error is reported, and the look
repeated later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from conntrack.layout import TCP, Status
from conntrack.requests import Selection
from conntrack.services import NO_SERVICES, Services, index
from conntrack.stale import CLEANED, Draining, Judge, Stale, judge_entry
from conntrack.table import Table
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.errors import ConntrackError, KproxyError

SHARE: Final = 0.1
"""What share of one processor cleaning may take, over time."""
EVERY_S: Final = 300.0
"""How often the table is looked at though nothing has changed."""
MOST_AT_ONCE: Final = 20_000
"""How many stale flows one look takes; the next follows after a rest."""
RETRY_S: Final = 10.0
"""How soon after an error the table is looked at again."""


class Cleaned(Value, frozen=True):
    """What one look at the flows of a family came to."""

    family: Family
    took_s: float
    deleted: int = 0
    undecodable: int = 0
    error: str = ""
    """Why it was not finished; empty if it was."""


class InForce(Value, frozen=True):
    """The plan that the kernel holds, and this node's own addresses."""

    plan: NodePlan
    addresses: frozenset[str]
    number: int
    """Counts what has been in force for the family: between two that do not follow each other there was another."""

    def follows(self, other: InForce | None) -> bool:
        """Whether nothing was in force between the other and this one."""
        return other is not None and self.number == other.number + 1


class Wanted(Value, frozen=True):
    """What a plan means for flows: who serves, and which Services want their TCP flows drained."""

    services: Services = NO_SERVICES
    drain_s: Mapping[ObjectKey, float] = {}

    def alike(self, other: Wanted) -> bool:
        """Whether every flow would be judged alike."""
        return (
            self.drain_s == other.drain_s
            and self.services.doors == other.services.doors
            and self.services.node_port_addresses == other.services.node_port_addresses
            and self.services.loopback_node_ports == other.services.loopback_node_ports
        )

    def concerns(self, flow: Stale) -> bool:
        """Whether a stale flow is to go, now or later."""
        return not flow.drains or flow.door.service in self.drain_s

    def selections(self, family: Family) -> Iterator[Selection]:
        """The parts of the table that may hold such flows, those that need not wait first."""
        protocols = {claim[0] for claim in self.services.doors}
        for protocol in sorted(CLEANED & protocols):
            yield Selection(family=family, protocol=protocol)
        if TCP in protocols:
            # Unanswered flows only, unless those that were answered are to be drained.
            mask = Status(0) if self.drain_s else Status.SEEN_REPLY
            yield Selection(family=family, protocol=TCP, status_mask=mask)


def drain_times(plan: NodePlan) -> dict[ObjectKey, float]:
    """The Services that want TCP flows to dead endpoints removed, and after how many seconds."""
    return {key: one.tcp_drain_s for key, one in plan.services.items() if one.tcp_drain_s is not None}


class Memory(Value, frozen=True):
    """What the last look at a family left behind."""

    seen: InForce | None = None
    wanted: Wanted = Wanted()
    draining: Draining = Draining()
    due: float = 0.0
    """When the table is to be looked at though nothing has changed."""


class _Look(Value, frozen=True):
    """One look at the table, with pauses."""

    judge: Judge
    wanted: Wanted
    pause: Callable[[], object]
    """Returns when no sync is under way: a sync is to have the processor."""

    def stale(self, batches: Iterable[list[bytes]]) -> list[Stale]:
        """The flows of a dump that are to go; the dump is read to its end, or the socket could not begin another."""
        found: list[Stale] = []
        for batch in batches:
            self.pause()
            if len(found) < MOST_AT_ONCE:
                found += (flow for flow in self.judge.stale(batch) if self.wanted.concerns(flow))
        return found


class Stopped(Exception):
    """The thread is to end."""


class Cleaner:
    """One thread for all families. `changing` and `applied` return at once and may be called from any thread."""

    def __init__(
        self,
        report: Callable[[Cleaned], None],
        open_table: Callable[[], Table] = Table,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._open_table = open_table
        self._clock = clock
        self._woken = threading.Condition()
        self._in_force: dict[Family, InForce] = {}
        self._changing: set[Family] = set()
        self._memories: dict[Family, Memory] = {}
        self._newest: dict[Family, tuple[InForce, Services]] = {}
        self._rest_until = 0.0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="conntrack-cleaner", daemon=True)

    def start(self) -> None:
        """Begin; the thread works in the network namespace of the caller."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, and wait for it."""
        with self._woken:
            self._stopped = True
            self._woken.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def changing(self, family: Family) -> None:
        """A sync of the family begins: until `applied`, what serves is not known, and nothing is removed."""
        with self._woken:
            self._changing.add(family)

    def applied(self, plan: NodePlan, addresses: Collection[str]) -> None:
        """The plan is in force; `addresses` are this node's own."""
        with self._woken:
            before, local = self._in_force.get(plan.family), frozenset(addresses)
            if before is None or before.plan is not plan or before.addresses != local:
                number = 0 if before is None else before.number + 1
                self._in_force[plan.family] = InForce(plan, local, number)
            self._changing.discard(plan.family)
            self._woken.notify_all()

    def services(self) -> Services:
        """The Services of all families, as they were last in force; for whoever counts flows."""
        with self._woken:
            known, memories = tuple(self._in_force.values()), tuple(self._memories.values())
        made_of = {key: made for one in memories for key, made in one.wanted.services.made_of.items()}
        addresses = {address for one in known for address in one.addresses}
        return index([one.plan for one in known], addresses, msgspec.structs.replace(NO_SERVICES, made_of=made_of))

    def _run(self) -> None:
        try:
            while True:
                family, in_force = self._next()
                start = self._clock()
                self._memories[family] = self._look(family, in_force)
                end = self._clock()
                self._rest_until = end + (end - start) * (1 / SHARE - 1)
        except Stopped:
            return

    def _next(self) -> tuple[Family, InForce]:
        """Wait for a family that is to be looked at."""
        with self._woken:
            while True:
                self._must_go_on()
                now = self._clock()
                steady = {family: one for family, one in self._in_force.items() if family not in self._changing}
                due = {family: self._due(family, one) for family, one in steady.items()}
                ready = [family for family, at in due.items() if max(at, self._rest_until) <= now]
                if ready:
                    family = min(ready, key=due.__getitem__)
                    return family, self._in_force[family]
                wait = max(min(due.values()), self._rest_until) - now if due else None
                self._woken.wait(wait)

    def _due(self, family: Family, in_force: InForce) -> float:
        memory = self._memories.get(family, Memory())
        return memory.due if memory.seen is in_force else 0.0

    def _look(self, family: Family, in_force: InForce) -> Memory:
        """Look at the family's flows, unless nothing that matters to them has changed."""
        memory = self._memories.get(family, Memory())
        services = index([in_force.plan], in_force.addresses, memory.wanted.services)
        wanted = Wanted(services, drain_times(in_force.plan))
        start = self._clock()
        if in_force.follows(memory.seen) and start < memory.due and wanted.alike(memory.wanted):
            return Memory(in_force, wanted, memory.draining, memory.due)
        try:
            draining, cleaned, complete = self._clean(family, in_force, wanted, memory.draining)
        except KproxyError as error:
            self._report(Cleaned(family, self._clock() - start, error=str(error)))
            return Memory(in_force, wanted, memory.draining, self._clock() + RETRY_S)
        end = self._clock()
        self._report(msgspec.structs.replace(cleaned, took_s=end - start))
        drained = draining.next_due(wanted.drain_s)
        later = end + EVERY_S if drained is None else min(end + EVERY_S, drained)
        return Memory(in_force, wanted, draining, later if complete else end)

    def _clean(
        self, family: Family, in_force: InForce, wanted: Wanted, draining: Draining
    ) -> tuple[Draining, Cleaned, bool]:
        """Remove what is stale; whether the table is clean then, too."""
        look = _Look(Judge(wanted.services), wanted, lambda: self._await(family))
        deleted, problems = 0, []
        with self._open_table() as table:
            stale = [flow for selection in wanted.selections(family) for flow in table.whole(look.stale, selection)]
            draining, drained = draining.after(stale, wanted.drain_s, self._clock())
            for flow in (*(flow for flow in stale if not flow.drains), *drained):
                try:
                    deleted += self._delete(table, family, in_force, flow)
                except ConntrackError as error:
                    problems.append(str(error))
        trouble = f"{len(problems)} flows could not be deleted: {problems[0]}" if problems else ""
        cleaned = Cleaned(family, 0.0, deleted, look.judge.undecodable, trouble)
        return draining, cleaned, deleted + len(problems) < MOST_AT_ONCE

    def _delete(self, table: Table, family: Family, seen: InForce, flow: Stale) -> bool:
        """Delete a flow, if it is stale by what is in force now."""
        in_force = self._await(family)
        if in_force is not seen:
            known = self._newest.get(family)
            if known is None or known[0] is not in_force:
                known = in_force, index([in_force.plan], in_force.addresses, known and known[1])
                self._newest[family] = known
            if judge_entry(known[1], flow.entry)[1] is None:
                return False
        return table.delete(flow.entry)

    def _await(self, family: Family) -> InForce:
        """What is in force for the family, once no sync is under way."""
        with self._woken:
            self._woken.wait_for(lambda: self._stopped or family not in self._changing)
            self._must_go_on()
            return self._in_force[family]

    def _must_go_on(self) -> None:
        if self._stopped:
            raise Stopped
