"""The agent: what other threads report goes into one queue, and one thread makes the kernel follow.

Rules kept: nothing is programmed before Services and EndpointSlices are both complete (and, for a moment, the Node,
whose zone and addresses decide too); the families do not wait for one another's errors; after a failure, and every now
and then, the kernel is looked at instead of remembered; stopping leaves the rules.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from conntrack.cleaner import Cleaner
from kproxy.core.host import Host, Settings
from kproxy.core.model import Event, Kind
from kproxy.core.plan import NodePlan
from kproxy.core.schedule import Pace, Schedule, began, changed, ended, look_is_due, next_due
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, Value
from kproxy.effects.logs import Logger, Recurrence
from kproxy.effects.network import Refused, Sysctl, ensure
from kproxy.errors import KernelError, ParseError
from kproxy.ports import Backend, Kernel, Outcome
from kproxy.report.changes import services_of, summary
from kproxy.report.counters import SyncCounters
from kproxy.sync import Pass, World, sync_family

NODE_WAIT_S = 3.0
"""How long the first sync waits for the Node object once Services and EndpointSlices are there."""
REMIND_S = 60.0
"""How often an error that goes on is told again."""
LOOK_SHARE = 0.01
"""What share of the time looking at the kernel may take."""

ROUTE_LOCALNET = Sysctl("net.ipv4.conf.all.route_localnet", "1")
BE_LIBERAL = Sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1")
CONSEQUENCES: Mapping[Sysctl, str] = {
    ROUTE_LOCALNET: "NodePorts do not answer on 127.0.0.1",
    BE_LIBERAL: "connection tracking still finds TCP packets outside the window invalid",
}


class Events(Value, frozen=True):
    """A source delivered."""

    events: Sequence[Event]


class Trouble(Value, frozen=True):
    """A source, or a watch, met an error that it will retry or that costs one object."""

    error: Exception


class Addresses(Value, frozen=True):
    """This node's addresses are now these."""

    addresses: frozenset[str]


class Stop(Value, frozen=True):
    """The agent is to end."""


Message = Events | Trouble | Addresses | Stop


class Setup(Value, frozen=True):
    """What an agent is told at its start."""

    backend: Backend
    kernels: Mapping[Family, Kernel]
    settings: Settings
    host: Host
    pace: Pace
    log: Logger
    once: bool = False
    """End after each family's first sync."""
    cleaner: Cleaner | None = None
    """Removes stale connections after syncs; None: nobody does."""
    clock: Callable[[], float] = time.monotonic
    ensure: Callable[[Sysctl], Refused | None] = ensure


class Side(Value, frozen=True):
    """One family's state between syncs."""

    schedule: Schedule = Schedule()
    pace: Pace = Pace()
    world: World = World()
    counters: SyncCounters = SyncCounters()
    error: KernelError | None = None
    """Why the last sync failed."""


class Agent:
    """One node's agent; `put`, `fail`, `move` and `stop` may be called from any thread and from signal handlers."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.snapshot = Snapshot()
        self.host = setup.host
        self.sides = {family: Side(pace=setup.pace) for family in setup.kernels}
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._said = Recurrence()
        self._synced_at: float | None = None
        self._ensured: set[Sysctl] = set()
        self._stopped = False

    def put(self, events: Sequence[Event]) -> None:
        """Take over events."""
        self._inbox.put(Events(events))

    def fail(self, error: Exception) -> None:
        """Take note of an error."""
        self._inbox.put(Trouble(error))

    def move(self, addresses: frozenset[str]) -> None:
        """Take over this node's addresses."""
        self._inbox.put(Addresses(addresses))

    def stop(self) -> None:
        """End soon."""
        self._inbox.put(Stop())

    def run(self) -> None:
        """Follow until stopped; with `once`, until each family has been synced, and then raise what went wrong."""
        if self.setup.settings.tcp_be_liberal:
            self._ensure(BE_LIBERAL)
        while not self._stopped:
            self.listen(self.wait_s())
            if not self._stopped:
                self.sync_due()
            if self.setup.once and all(side.counters.syncs for side in self.sides.values()):
                break
        if self.setup.once:
            for side in self.sides.values():
                if side.error is not None:
                    raise side.error

    def wait_s(self) -> float | None:
        """How long nothing is to be done, if nothing is heard; None: for ever."""
        now = self.setup.clock()
        start = self._start_at()
        if start is None:
            return None
        due = [next_due(side.schedule, side.pace) for side in self.sides.values()]
        wanted = [max(at, start) for at in due if at is not None]
        return max(min(wanted) - now, 0.0) if wanted else None

    def _start_at(self) -> float | None:
        """From when on anything may be programmed; None as long as the cluster is half known."""
        if self._synced_at is None:
            return None
        return self._synced_at if Kind.NODE in self.snapshot.complete else self._synced_at + NODE_WAIT_S

    def listen(self, wait_s: float | None) -> None:
        """Wait for a message, then take over all that are there."""
        try:
            messages = [self._inbox.get(timeout=wait_s)]
        except queue.Empty:
            return
        while not self._inbox.empty():
            messages.append(self._inbox.get())
        before = self.snapshot, self.host
        self._take([event for message in messages if isinstance(message, Events) for event in message.events])
        for message in messages:
            if isinstance(message, Trouble):
                self._complain(message.error)
            elif isinstance(message, Addresses):
                self.host = msgspec.structs.replace(self.host, addresses=message.addresses)
            elif isinstance(message, Stop):
                self._stopped = True
        if self.snapshot is not before[0] or self.host != before[1]:
            now = self.setup.clock()
            for family, side in self.sides.items():
                self.sides[family] = msgspec.structs.replace(side, schedule=changed(side.schedule, now))

    def _take(self, events: Sequence[Event]) -> None:
        self.snapshot = fold(self.snapshot, events)
        if self._synced_at is None and self.snapshot.synced:
            self._synced_at = self.setup.clock()
            self.setup.log.info("cluster known", services=len(self.snapshot.services), node=self.host.node)

    def sync_due(self) -> None:
        """Sync every family whose time has come."""
        start, now = self._start_at(), self.setup.clock()
        if start is None or start > now:
            return
        for family, side in self.sides.items():
            due = next_due(side.schedule, side.pace)
            if due is not None and due <= now:
                self.sides[family] = self._sync(family, side)

    def _sync(self, family: Family, side: Side) -> Side:
        """One pass of one family, and all that follows from it."""
        setup, start = self.setup, self.setup.clock()
        world = side.world
        if look_is_due(side.schedule, side.pace, start):
            world = msgspec.structs.replace(world, applied=None)
        observed = world.applied is None
        if setup.cleaner is not None:
            setup.cleaner.changing(family)
        done = sync_family(
            world, self.snapshot, setup.settings, self.host, family, setup.backend, setup.kernels[family]
        )
        end = setup.clock()
        failed = done.error is not None
        counters = side.counters.after(done.change, end - start, len(done.outcome.refusals), failed=failed)
        success = not failed and not done.outcome.refusals
        self._tell(family, side, done, end - start)
        if setup.cleaner is not None and not failed and done.world.planned is not None:
            setup.cleaner.applied(in_force(done.world.planned.plan, done.outcome), self.host.addresses)
        pace = side.pace
        if observed:
            look_s = max(setup.pace.observe_every_s, (end - start) / LOOK_SHARE)
            pace = msgspec.structs.replace(pace, observe_every_s=look_s)
        schedule = ended(began(side.schedule, start), end, success=success, observed=observed)
        return Side(schedule, pace, done.world, counters, done.error)

    def _tell(self, family: Family, side: Side, done: Pass, took_s: float) -> None:
        """Log what a pass did, each standing trouble once in a while."""
        log = self.setup.log.bind(family=family.label)
        now = self.setup.clock()
        if done.world.planned is not None and (
            side.world.planned is None or done.world.planned.plan is not side.world.planned.plan
        ):
            self._tell_plan(log, done.world.planned.plan)
        if done.error is not None:
            if self._said.is_due((family, str(done.error)), now, REMIND_S):
                log.error("sync failed, the rules are as they were", error=str(done.error))
            return
        for refusal in done.outcome.refusals:
            if self._said.is_due((family, refusal), now, REMIND_S):
                log.error("refused by the kernel", owner=refusal.owner, object=refusal.what, reason=refusal.reason)
        if side.error is not None or done.change or not side.counters.syncs:
            text = "synced" if side.counters.syncs else "synced for the first time"
            log.info(
                text,
                objects=summary(done.change),
                services=services_of(done.change),
                took_ms=round(took_s * 1000, 1),
            )

    def _tell_plan(self, log: Logger, plan: NodePlan) -> None:
        """What a new plan asks for beside rules, and the claims that were lost in it."""
        for conflict in plan.conflicts:
            if self._said.is_due(conflict, 0.0):
                log.warning("claim lost", claim=conflict.claim, loser=str(conflict.loser), winner=str(conflict.winner))
        if plan.loopback_node_ports:
            self._ensure(ROUTE_LOCALNET)

    def _ensure(self, sysctl: Sysctl) -> None:
        if sysctl in self._ensured:
            return
        self._ensured.add(sysctl)
        refused = self.setup.ensure(sysctl)
        if refused is not None:
            self.setup.log.warning(
                "sysctl cannot be set",
                sysctl=f"{sysctl.name}={sysctl.value}",
                found=refused.found,
                reason=refused.reason,
                consequence=CONSEQUENCES[sysctl],
            )

    def _complain(self, error: Exception) -> None:
        """Log an error of a source: an object or a file that is not used once, anything else once in a while."""
        now = self.setup.clock()
        if isinstance(error, ParseError):
            if self._said.is_due((error.what, error.field, error.reason), now):
                self.setup.log.warning("object skipped", object=error.what, field=error.field, reason=error.reason)
        elif self._said.is_due(str(error), now, REMIND_S):
            self.setup.log.warning("source in trouble, what is known stays in force", error=str(error))


def in_force(plan: NodePlan, outcome: Outcome) -> NodePlan:
    """The part of a plan that the kernel took: without the Services that it refused."""
    refused = {refusal.owner for refusal in outcome.refusals}
    if not refused:
        return plan
    services = {key: service for key, service in plan.services.items() if str(key) not in refused}
    return msgspec.structs.replace(plan, services=services)
