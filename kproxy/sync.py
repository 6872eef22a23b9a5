"""One pass for one IP family: plan, compile, diff, apply. Read it top to bottom; there is nothing else.

What is in the kernel is a value, `applied`: None after a doubt, and then it is
observed. There are no "needs a full sync" flags.
"""

from __future__ import annotations

from kproxy.core.document import Change, Document, diff
from kproxy.core.host import Host, Settings
from kproxy.core.planner import Planned, plan_node
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Family, Value
from kproxy.errors import KernelError
from kproxy.ports import Backend, Compiled, Kernel, Outcome


class World(Value, frozen=True):
    """All that a pass leaves for the next: its results are caches, `applied` alone is knowledge."""

    planned: Planned | None = None
    compiled: Compiled | None = None
    applied: Document | None = None


class Pass(Value, frozen=True):
    """What one pass did."""

    world: World
    change: Change
    outcome: Outcome
    error: KernelError | None = None


def sync_family(
    world: World, snapshot: Snapshot, settings: Settings, host: Host, family: Family, backend: Backend, kernel: Kernel
) -> Pass:
    """Bring the kernel to what the snapshot asks for; a KernelError is returned, never raised."""
    planned = plan_node(snapshot, settings, host, backend.traits, family, world.planned)
    compiled = backend.compile(planned.plan, world.compiled)
    after = World(planned, compiled, None)
    change, outcome = NOTHING, Outcome()
    try:
        have = kernel.observe() if world.applied is None else world.applied
        change = diff(have, compiled.document)
        if change:
            outcome = kernel.apply(change)
    except KernelError as error:
        return Pass(after, change, outcome, error)
    applied = None if outcome.refusals else compiled.document
    return Pass(World(planned, compiled, applied), change, outcome)


NOTHING = Change({}, {}, {})
