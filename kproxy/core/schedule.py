"""When to sync: a machine without a clock. Tell it what happens and when; ask it when the next sync is due.

Rules:

- The first change goes at once. Changes during a sync are merged into the next one.
- Between the end of a sync and the start of the next lies at least `min_gap_s`
  (kube-proxy's minSyncPeriod, counted as there); 0 unless the user sets it.
- A failed sync is tried again soon, then ever later, up to `retry_max_s`. A
  change meanwhile may be the cure, so it waits for the first step only.
- Without any change the kernel is looked at every `observe_every_s`.

Times are seconds of any monotonic clock.
"""

from __future__ import annotations

import msgspec

from kproxy.core.values import Value


class Pace(Value, frozen=True):
    """How fast syncs may follow one another, in seconds."""

    min_gap_s: float = 0.0
    retry_first_s: float = 0.1
    retry_max_s: float = 30.0
    observe_every_s: float = 30.0


class Schedule(Value, frozen=True):
    """What is known of past, running and wanted syncs; None: not so, or never yet."""

    changed_at: float | None = None
    """The oldest change that no sync has taken up."""
    unapplied_since: float | None = None
    """The oldest change that is not in force: health turns on its age."""
    began_at: float | None = None
    """Since when a sync is running."""
    ended_at: float | None = None
    observed_at: float | None = None
    """When the kernel was last looked at."""
    failures: int = 0
    """Failed syncs since the last success."""


def changed(schedule: Schedule, now: float) -> Schedule:
    """Something changed that a sync must take up."""
    return msgspec.structs.replace(
        schedule,
        changed_at=now if schedule.changed_at is None else schedule.changed_at,
        unapplied_since=now if schedule.unapplied_since is None else schedule.unapplied_since,
    )


def began(schedule: Schedule, now: float) -> Schedule:
    """A sync has begun and takes up all changes so far."""
    return msgspec.structs.replace(schedule, began_at=now, changed_at=None)


def ended(schedule: Schedule, now: float, *, success: bool, observed: bool) -> Schedule:
    """The running sync has ended; `observed`: it looked at the kernel instead of relying on what was applied."""
    return msgspec.structs.replace(
        schedule,
        began_at=None,
        ended_at=now,
        unapplied_since=schedule.changed_at if success else schedule.unapplied_since,
        observed_at=now if observed and success else schedule.observed_at,
        failures=0 if success else schedule.failures + 1,
    )


def next_due(schedule: Schedule, pace: Pace) -> float | None:
    """When the next sync should begin (maybe in the past: now); None while one runs or nothing is wanted."""
    if schedule.began_at is not None:
        return None
    wanted = [
        at
        for at in (_change_due(schedule, pace), _retry_due(schedule, pace), _look_due(schedule, pace))
        if at is not None
    ]
    return max(min(wanted), _gap_end(schedule, pace)) if wanted else None


def look_is_due(schedule: Schedule, pace: Pace, now: float) -> bool:
    """Whether the next sync should look at the kernel rather than rely on what was applied."""
    due = _look_due(schedule, pace)
    return due is not None and due <= now


def _change_due(schedule: Schedule, pace: Pace) -> float | None:
    if schedule.changed_at is None or schedule.ended_at is None or not schedule.failures:
        return schedule.changed_at
    return max(schedule.changed_at, schedule.ended_at + pace.retry_first_s)


def _retry_due(schedule: Schedule, pace: Pace) -> float | None:
    if not schedule.failures or schedule.ended_at is None:
        return None
    doublings = min(schedule.failures - 1, _MOST_DOUBLINGS)
    return schedule.ended_at + min(pace.retry_first_s * 2.0**doublings, pace.retry_max_s)


def _look_due(schedule: Schedule, pace: Pace) -> float | None:
    if schedule.failures or schedule.observed_at is None:
        return None
    return schedule.observed_at + pace.observe_every_s


def _gap_end(schedule: Schedule, pace: Pace) -> float:
    return float("-inf") if schedule.ended_at is None else schedule.ended_at + pace.min_gap_s


_MOST_DOUBLINGS = 30  # far beyond any retry_max_s, and no overflow
