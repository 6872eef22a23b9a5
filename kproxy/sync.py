"""One pass for one IP family: plan, compile, diff, apply. Read it top to bottom; there is nothing else.

What is in the kernel is a value, `applied`: None after a doubt, and then it is
observed. There are no "needs a full sync" flags.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from kproxy.core.document import Change, Document, diff
from kproxy.core.host import Host, Settings
from kproxy.core.planner import Planned, plan_node
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Family, Value
from kproxy.core.waiting import Waiting, waits_for
from kproxy.errors import KernelError
from kproxy.ports import Backend, Compiled, Kernel, Outcome

T = TypeVar("T")
NOTHING = Change({}, {}, {})


class World(Value, frozen=True):
    """All that a pass leaves for the next: its results are caches, `applied` alone is knowledge."""

    planned: Planned | None = None
    compiled: Compiled | None = None
    applied: Document | None = None
    left: Document | None = None
    """What was applied, where others are suspected to have changed it since."""


def suspected(world: World) -> World:
    """The world of which others may have changed the kernel's part: it is to be observed."""
    return World(world.planned, world.compiled, None, world.applied)


class Pass(Value, frozen=True):
    """What one pass did."""

    world: World
    change: Change
    outcome: Outcome
    error: KernelError | None = None
    drift: Change = NOTHING
    """What it took to make the kernel again what the last pass had left, as far as it was looked at: others' doing."""
    observed: bool = False
    """Whether the kernel was looked at, rather than remembered."""
    stages: Mapping[str, float] = {}
    """How long each stage took that was reached, in seconds."""
    waiting: Waiting | None = None
    """Set if the kernel was left as it was found, and the world as it was."""


def sync_family(
    world: World,
    snapshot: Snapshot,
    settings: Settings,
    host: Host,
    family: Family,
    backend: Backend,
    kernel: Kernel,
    clock: Callable[[], float] = time.perf_counter,
) -> Pass:
    """Bring the kernel to what the snapshot asks for; a KernelError is returned, never raised.

    The first pass leaves alone what stands if part of the source was never read (see `waits_for`): whoever has
    programmed once remembers what it last said.
    """
    laps = Laps(clock)
    have = world.applied
    observed = have is None
    if world.compiled is None and snapshot.flaws.unknown:
        try:
            have = laps.after("observe", kernel.observe())
        except KernelError as error:
            return Pass(world, NOTHING, Outcome(), error, observed=True, stages=laps.stages)
        if waiting := waits_for(snapshot.flaws, have):
            return Pass(world, NOTHING, Outcome(), observed=True, stages=laps.stages, waiting=waiting)
    planned = laps.after("plan", plan_node(snapshot, settings, host, backend.traits, family, world.planned))
    compiled = laps.after("compile", backend.compile(planned.plan, world.compiled))
    after = World(planned, compiled, None)
    drift, change, outcome = NOTHING, NOTHING, Outcome()
    try:
        if have is None:
            have = laps.after("observe", kernel.observe())
        change = laps.after("diff", diff(have, compiled.document))
        if observed and world.left is not None:
            drift = change if world.left is compiled.document else laps.after("drift", diff(have, world.left))
        if change:
            outcome = laps.after("apply", kernel.apply(change))
    except KernelError as error:
        return Pass(after, change, outcome, error, drift, observed, laps.stages)
    applied = None if outcome.refusals else compiled.document
    return Pass(World(planned, compiled, applied), change, outcome, None, drift, observed, laps.stages)


class Laps:
    """Times stages: each ends when its result is there."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self.stages: dict[str, float] = {}

    def after(self, stage: str, result: T) -> T:
        """The result of a stage that has ended now."""
        now = self._clock()
        self.stages[stage] = now - self._last
        self._last = now
        return result
