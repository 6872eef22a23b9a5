"""Pacing, driven by hand and by a simulated agent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.schedule import Pace, Schedule, began, changed, ended, look_is_due, next_due

PACE = Pace(min_gap_s=0.0, retry_first_s=0.5, retry_max_s=4.0, observe_every_s=30.0)
GAP = Pace(min_gap_s=2.0, retry_first_s=0.5, retry_max_s=4.0, observe_every_s=30.0)


def after_sync(end: float, *, success: bool = True) -> Schedule:
    return ended(began(changed(Schedule(), 1.0), 1.0), end, success=success, observed=True)


def test_nothing_is_due_before_anything_happened() -> None:
    assert next_due(Schedule(), PACE) is None


def test_the_first_change_goes_at_once_even_at_time_zero_and_with_a_gap() -> None:
    assert next_due(changed(Schedule(), 0.0), PACE) == 0.0
    assert next_due(changed(Schedule(), 7.0), GAP) == 7.0


def test_changes_wait_together_and_the_oldest_counts() -> None:
    assert next_due(changed(changed(Schedule(), 3.0), 5.0), PACE) == 3.0


def test_nothing_is_due_while_a_sync_runs_and_its_changes_are_merged() -> None:
    running = changed(changed(began(changed(Schedule(), 1.0), 1.0), 2.0), 3.0)
    assert next_due(running, PACE) is None
    assert next_due(ended(running, 4.0, success=True, observed=True), PACE) == 4.0


def test_the_gap_is_counted_from_the_end_of_the_last_sync() -> None:
    assert next_due(changed(after_sync(10.0), 10.5), GAP) == 12.0
    assert next_due(changed(after_sync(10.0), 20.0), GAP) == 20.0
    assert next_due(changed(after_sync(10.0), 10.5), PACE) == 10.5


def test_failures_are_retried_early_then_later_up_to_the_limit() -> None:
    schedule, now, waits = changed(Schedule(), 0.0), 0.0, []
    for _ in range(6):
        schedule = ended(began(schedule, now), now, success=False, observed=False)
        due = next_due(schedule, PACE)
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert schedule.unapplied_since == 0.0


def test_failures_without_end_do_not_overflow() -> None:
    assert next_due(Schedule(failures=10_000, ended_at=0.0), PACE) == 4.0


def test_a_change_after_failures_waits_for_the_first_step_only() -> None:
    failing = Schedule(ended_at=100.0, failures=5, unapplied_since=1.0)
    assert next_due(failing, PACE) == 104.0
    assert next_due(changed(failing, 100.1), PACE) == 100.5
    assert next_due(changed(failing, 102.0), PACE) == 102.0


def test_the_kernel_is_looked_at_when_nothing_changes() -> None:
    schedule = after_sync(10.0)
    assert next_due(schedule, PACE) == 40.0
    assert not look_is_due(schedule, PACE, 39.9)
    assert look_is_due(schedule, PACE, 40.0)
    unseen = ended(began(changed(schedule, 20.0), 20.0), 21.0, success=True, observed=False)
    assert next_due(unseen, PACE) == 40.0


def test_health_sees_the_oldest_change_that_is_not_in_force() -> None:
    running = began(changed(Schedule(), 1.0), 2.0)
    assert changed(running, 3.0).unapplied_since == 1.0
    assert ended(changed(running, 3.0), 4.0, success=True, observed=False).unapplied_since == 3.0
    assert ended(running, 4.0, success=True, observed=False).unapplied_since is None
    assert ended(running, 4.0, success=False, observed=False).unapplied_since == 1.0


def drive(changes: list[float], runs: Iterator[tuple[float, bool]], pace: Pace) -> list[tuple[float, float, bool]]:
    """An agent that does as it is told, until every change is in force: begin, end and success of its syncs."""
    schedule, waiting, syncs, now = Schedule(), sorted(changes), [], 0.0
    while waiting or schedule.unapplied_since is not None:
        due = next_due(schedule, pace)
        if waiting and (due is None or waiting[0] <= max(due, now)):
            now = max(now, waiting[0])
            schedule = changed(schedule, waiting.pop(0))
            continue
        assert due is not None
        begin = max(due, now)
        schedule = began(schedule, begin)
        length, success = next(runs, (0.1, True))
        while waiting and waiting[0] <= begin + length:
            schedule = changed(schedule, waiting.pop(0))
        now = begin + length
        schedule = ended(schedule, now, success=success, observed=True)
        syncs.append((begin, now, success))
    return syncs


TIMES = st.floats(0, 20, allow_nan=False)
RUNS = st.lists(st.tuples(st.floats(0, 3, allow_nan=False), st.booleans()), max_size=8)


@settings(deadline=None, max_examples=200)
@given(st.lists(TIMES, min_size=1, max_size=12), RUNS, st.sampled_from([PACE, GAP]))
def test_every_change_gets_in_force_and_no_sync_comes_too_early(
    changes: list[float], runs: list[tuple[float, bool]], pace: Pace
) -> None:
    syncs = drive(changes, iter(runs), pace)
    assert syncs[0][0] == min(changes)
    for (_, end, success), (begin, _, _) in itertools.pairwise(syncs):
        assert begin >= end + pace.min_gap_s
        assert success or begin >= end + pace.retry_first_s
    for at in changes:
        assert any(begin >= at and success for begin, _, success in syncs)
    assert sum(success for _, _, success in syncs) <= len(changes) + 1
