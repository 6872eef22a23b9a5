"""The loop: what other threads report goes into one queue, and one thread makes the kernel follow.

Rules kept: nothing is programmed before Services and EndpointSlices are both complete (and, for a moment, the Node,
whose zone and addresses decide too); the families do not wait for one another's errors; after a failure, and every now
and then, the kernel is looked at instead of remembered; stopping leaves the rules.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence

import msgspec

from kproxy.agent.passes import drift_of, flawed_at, in_force, is_held, not_whole, shorter, synced_news, triggers_of
from kproxy.agent.telling import BE_LIBERAL, ROUTE_LOCALNET, Teller
from kproxy.agent.values import Addresses, Events, Message, Reconfigure, Setup, Side, State, Stop, Touched, Trouble
from kproxy.agent.watch import Watch
from kproxy.core.changes import changed_keys
from kproxy.core.host import Settings
from kproxy.core.model import Event, Kind
from kproxy.core.plan import NodePlan
from kproxy.core.schedule import Pace, began, changed, ended, look_is_due, next_due
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family
from kproxy.core.vigil import is_worth_a_look, look_at, waits
from kproxy.effects.network import Sysctl
from kproxy.errors import ConfigError
from kproxy.netlink.notices import Interest, Touch
from kproxy.report.news import Heard, Troubled
from kproxy.sync import Pass, suspected, sync_family

NODE_WAIT_S = 3.0
"""How long the first sync waits for the Node object once Services and EndpointSlices are there."""
LOOK_SHARE = 0.01
"""What share of the time looking at the kernel may take while nothing hints at a change."""
MOST_TRIGGERS = 1000
"""How many are remembered while syncs fail."""


class Agent:
    """One node's agent.

    `put`, `fail`, `move`, `touch`, `configure` and `state` are for any thread, `stop` for signal handlers too.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.snapshot = Snapshot()
        self.host = setup.host
        self.sides = {family: Side(pace=setup.pace) for family in setup.kernels}
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._teller = Teller(setup.log, setup.clock)
        self._watch = Watch(setup.kernels, setup.clock, self._teller.trouble)
        self._synced_at: float | None = None
        self._ensured: set[Sysctl] = set()
        self._stopped = False
        self._unheard_since: float | None = None
        self._flawed_at: float | None = None

    def put(self, events: Sequence[Event]) -> None:
        """Take over events."""
        self._send(Events(events))

    def fail(self, error: Exception) -> None:
        """Take note of an error."""
        self._send(Trouble(error))

    def move(self, addresses: frozenset[str]) -> None:
        """Take over this node's addresses."""
        self._send(Addresses(addresses))

    def touch(self, touch: Touch) -> None:
        """Take note that somebody may have changed our rules."""
        self._send(Touched(touch))

    @property
    def interests(self) -> Sequence[Interest]:
        """Which notifications of the kernel are worth a `touch`."""
        return self._watch.interests

    def configure(self, settings: Settings, pace: Pace, primary: tuple[str, ...]) -> None:
        """Take over another configuration."""
        self._send(Reconfigure(settings, pace, primary))

    def stop(self) -> None:
        """End soon."""
        self._send(Stop())

    def _send(self, message: Message) -> None:
        if self._unheard_since is None:
            self._unheard_since = self.setup.clock()
        self._inbox.put(message)

    @property
    def state(self) -> State:
        """What the agent knows now; from any thread. Each part is whole, the parts may be moments apart."""
        setup = self.setup
        now, since = setup.clock(), self._unheard_since
        return State(
            self.snapshot, self.host, setup.settings, setup.backend, dict(self.sides), now, since, self._flawed_at
        )

    def run(self) -> None:
        """Follow until stopped; with `once`, until each family has been synced, and then raise what went wrong.

        That is a KernelError, or a ConfigError where the source could not be read as a whole.
        """
        if self.setup.settings.tcp_be_liberal:
            self._ensure(BE_LIBERAL)
        while not self._stopped:
            self.setup.beat()
            self.listen(shorter(self.wait_s(), self.setup.beat_s))
            if not self._stopped:
                self.sync_due()
            if self.setup.once and all(side.counters.syncs for side in self.sides.values()):
                break
        if self.setup.once:
            for side in self.sides.values():
                if side.error is not None:
                    raise side.error
            if complaint := not_whole(self.snapshot.flaws, self.sides.values()):
                raise ConfigError(complaint)

    def wait_s(self) -> float | None:
        """How long nothing is to be done, if nothing is heard; None: for ever."""
        now = self.setup.clock()
        start = self._start_at()
        if start is None:
            return None
        due = [self._due(family, side) for family, side in self.sides.items()]
        wanted = [max(at, start) for at in due if at is not None]
        return max(min(wanted) - now, 0.0) if wanted else None

    def _due(self, family: Family, side: Side) -> float | None:
        """When a family wants something done; None: nothing as it is."""
        return shorter(next_due(side.schedule, side.pace), self._watch.due(family, side))

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
        self._unheard_since = None
        while not self._inbox.empty():
            messages.append(self._inbox.get())
        before = self.snapshot, self.host, self.setup
        events = [event for message in messages if isinstance(message, Events) for event in message.events]
        self._take(events)
        for message in messages:
            self._obey(message)
        if self.snapshot is not before[0] or self.host != before[1] or self.setup is not before[2]:
            now = self.setup.clock()
            for family, side in self.sides.items():
                triggers = side.triggers + triggers_of(events, family)
                self.sides[family] = msgspec.structs.replace(
                    side, schedule=changed(side.schedule, now), triggers=triggers[-MOST_TRIGGERS:]
                )
            services = len(changed_keys(before[0].services, self.snapshot.services))
            endpoints = len(changed_keys(before[0].slices, self.snapshot.slices))
            self.setup.tell(Heard(self.setup.wall(), tuple(self.sides), services, endpoints))

    def _obey(self, message: Message) -> None:
        """Take over a message that is not of events."""
        if isinstance(message, Trouble):
            self._teller.trouble(message.error)
            self.setup.tell(Troubled(message.error))
        elif isinstance(message, Addresses):
            self.host = msgspec.structs.replace(self.host, addresses=message.addresses)
        elif isinstance(message, Reconfigure):
            self._reconfigure(message)
        elif isinstance(message, Touched) and message.touch.family in self.sides:
            family = message.touch.family
            self.sides[family] = self._watch.heard(self.sides[family], message.touch)
        elif isinstance(message, Stop):
            self._stopped = True

    def _reconfigure(self, wanted: Reconfigure) -> None:
        """Follow another configuration from the next pass on; what stands keeps its pace of looks until then."""
        self.setup = msgspec.structs.replace(self.setup, settings=wanted.settings, pace=wanted.pace)
        self.host = msgspec.structs.replace(self.host, primary=wanted.primary)
        for family, side in self.sides.items():
            self.sides[family] = msgspec.structs.replace(side, pace=wanted.pace)
        if wanted.settings.tcp_be_liberal:
            self._ensure(BE_LIBERAL)

    def _take(self, events: Sequence[Event]) -> None:
        before = self.snapshot
        self.snapshot = fold(before, events)
        if self.snapshot.flaws != before.flaws:
            self._flawed_at = flawed_at(self._flawed_at, self.snapshot.flaws, self.setup.wall())
            self._teller.flaws(before.flaws, self.snapshot.flaws)
        if self._synced_at is None and self.snapshot.synced:
            self._synced_at = self.setup.clock()
            self._teller.cluster_known(len(self.snapshot.services), self.host.node)
        if self.snapshot.nodes is not before.nodes:
            self._teller.nodes(self.snapshot, self.host.node)

    def sync_due(self) -> None:
        """Sync every family whose time has come."""
        start, now = self._start_at(), self.setup.clock()
        if start is None or start > now:
            return
        for family in self.sides:
            side = self.sides[family] = self._watch.glance(family, self.sides[family])
            due = shorter(next_due(side.schedule, side.pace), look_at(side.vigil))
            if due is not None and due <= now:
                self.sides[family] = self._sync(family, side, now)

    def _sync(self, family: Family, side: Side, now: float) -> Side:
        """One pass of one family, and all that follows from it."""
        setup = self.setup
        side, is_sure = self._watch.before_writing(family, side, now)
        start = setup.clock()
        doubted = is_worth_a_look(side.vigil, start)
        if setup.cleaner is not None:
            setup.cleaner.changing(family)
        world = suspected(side.world) if doubted or look_is_due(side.schedule, side.pace, start) else side.world
        done = sync_family(
            world, self.snapshot, setup.settings, self.host, family, setup.backend, setup.kernels[family]
        )
        took_s = setup.clock() - start
        if done.world.planned is not None:
            self._follow_plan(family, side, done.world.planned.plan)
        self._teller.synced(family, done, took_s, first=not side.counters.syncs, healed=is_held(side))
        if setup.cleaner is not None and done.error is None and done.world.planned is not None:
            setup.cleaner.applied(in_force(done.world.planned.plan, done.outcome), self.host.addresses)
        after = self._after(side, done, start, took_s, is_sure=is_sure)
        drift = drift_of(done, setup.backend, family, side.vigil)
        self._teller.drifted(family, drift, took_s, wait_s=waits(after.vigil))
        setup.tell(synced_news(setup, family, side, done, drift, took_s))
        return after

    def _follow_plan(self, family: Family, side: Side, plan: NodePlan) -> None:
        """What a new plan asks for beside rules."""
        if side.world.planned is not None and side.world.planned.plan is plan:
            return
        self._teller.plan(family, plan)
        if plan.loopback_node_ports:
            self._ensure(ROUTE_LOCALNET)

    def _after(self, side: Side, done: Pass, start: float, took_s: float, *, is_sure: bool) -> Side:
        """The family's state after a pass."""
        failed, refusals = done.error is not None, len(done.outcome.refusals)
        pace = side.pace
        if done.observed and not (failed or done.change):
            look_s = max(self.setup.pace.observe_every_s, took_s / LOOK_SHARE)
            pace = msgspec.structs.replace(pace, observe_every_s=look_s)
        success = not failed and not refusals
        follows = success and done.waiting is None
        after = Side(
            schedule=ended(began(side.schedule, start), start + took_s, success=success, observed=done.observed),
            pace=pace,
            world=done.world,
            counters=side.counters.after(done.change, took_s, refusals, failed=failed),
            error=done.error,
            waiting=done.waiting,
            updated_at=self.setup.wall() if follows else side.updated_at,
            vigil=side.vigil,
            triggers=() if follows else side.triggers,
        )
        if done.observed:
            after = self._watch.observed(after, took_s)
        return self._watch.wrote(after, is_sure=is_sure and not done.observed) if done.change else after

    def _ensure(self, sysctl: Sysctl) -> None:
        """Set a sysctl, once; what refuses it is told with its consequence."""
        if sysctl in self._ensured:
            return
        self._ensured.add(sysctl)
        refused = self.setup.ensure(sysctl)
        if refused is not None:
            self._teller.refused_sysctl(refused)
