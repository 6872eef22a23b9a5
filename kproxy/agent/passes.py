"""What a pass took up, what of it is in force, and what is told of it. Pure but for the clocks of the `Setup`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from kproxy.agent.values import Setup, Side
from kproxy.core.model import Applied, EndpointSlice, Event, Flaws
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family
from kproxy.core.vigil import Vigil
from kproxy.ports import Backend, Outcome
from kproxy.report.drift import Drift, Noticed, drift_told_by
from kproxy.report.news import Synced
from kproxy.sync import Pass


def drift_of(done: Pass, backend: Backend, family: Family, vigil: Vigil) -> Drift:
    """What others did to a family's rules, as far as a pass has put it right; `vigil` is that of before."""
    if done.error is not None or not done.drift:
        return Drift()
    hinted = Noticed.TOLD if vigil.is_told else Noticed.GLANCED
    return drift_told_by(done.drift, backend, family, Noticed.LOOKED if vigil.touched_at is None else hinted, vigil.by)


def synced_news(setup: Setup, family: Family, side: Side, done: Pass, drift: Drift, took_s: float) -> Synced:
    """What is told of a pass; `side` is that of before."""
    known, since = done.world.planned, side.schedule.unapplied_since
    return Synced(
        at=setup.wall(),
        family=family,
        backend=setup.backend.name,
        took_s=took_s,
        stages=done.stages,
        observed=done.observed,
        change=done.change,
        refusals=done.outcome.refusals,
        error=done.error,
        plan=known.plan if known else None,
        waited_s=None if since is None else setup.clock() - since,
        programming_s=tuple(max(setup.wall() - at, 0.0) for at in side.triggers),  # clocks differ, and jump
        drift=drift,
        waiting=done.waiting,
    )


def triggers_of(events: Sequence[Event], family: Family) -> tuple[float, ...]:
    """When the changes of a family's endpoints were triggered, where they say it."""
    applied = (event for event in events if isinstance(event, Applied) and event.triggered_at is not None)
    return tuple(
        event.triggered_at or 0.0
        for event in applied
        if isinstance(event.item, EndpointSlice) and event.item.family is family
    )


def shorter(one_s: float | None, other_s: float | None) -> float | None:
    """The shorter of two waits; None is endless."""
    return min((wait_s for wait_s in (one_s, other_s) if wait_s is not None), default=None)


def flawed_at(before: float | None, flaws: Flaws, now: float) -> float | None:
    """Since when a source has flaws, given when it had before; None: it has none. Seconds since the epoch."""
    if not flaws.faults:
        return None
    return now if before is None else before


def not_whole(flaws: Flaws, sides: Iterable[Side]) -> str:
    """What a single sync could not do because of what was never read, in a sentence; empty if it did all."""
    if not flaws.unknown:
        return ""
    if waiting := next((side.waiting for side in sides if side.waiting is not None), None):
        return f"nothing was programmed, {waiting}"
    return f"what can be read is in force, but not what this hides: {'; '.join(flaws.unknown)}"


def is_held(side: Side) -> bool:
    """Whether the last pass did not come to what was wanted."""
    return side.error is not None or side.waiting is not None


def in_force(plan: NodePlan, outcome: Outcome) -> NodePlan:
    """The part of a plan that the kernel took: without the Services that it refused."""
    refused = {refusal.owner for refusal in outcome.refusals}
    if not refused:
        return plan
    services = {key: service for key, service in plan.services.items() if str(key) not in refused}
    return msgspec.structs.replace(plan, services=services)
