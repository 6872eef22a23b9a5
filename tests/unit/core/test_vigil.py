from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.core.vigil import (
    BURST,
    GLANCE_EVERY_S,
    GLANCE_SHARE,
    LOOK_SHARE,
    REFILL_S,
    SETTLE_S,
    SPARED,
    Vigil,
    glance_at,
    glanced,
    is_worth_a_look,
    look_at,
    looked,
    refill_s,
    touched,
    waits,
    wrote,
)


def spent(vigil: Vigil, now: float, looks: int, took_s: float = 0.01) -> Vigil:
    """After so many touches, each with its look, in no time."""
    for _ in range(looks):
        vigil = looked(touched(vigil, now), now + took_s, took_s)
    return vigil


def test_nothing_is_to_be_done_until_something_is_touched() -> None:
    assert look_at(Vigil()) is None
    assert not is_worth_a_look(Vigil(), 1e9)


def test_the_first_touch_leads_to_a_look_as_soon_as_the_rest_has_come() -> None:
    vigil = touched(touched(Vigil(), 100.0, "nft (process 7)"), 100.04, "nft (process 7)")
    vigil = touched(touched(vigil, 100.045), 100.046, "iptables (process 9)")
    assert look_at(vigil) == 100.0 + SETTLE_S
    assert vigil.by == ("nft (process 7)", "iptables (process 9)")


def test_a_sync_that_runs_anyway_need_not_wait_for_the_rest() -> None:
    vigil = touched(Vigil(), 100.0)
    assert is_worth_a_look(vigil, 100.0)
    used_up = touched(spent(Vigil(), 100.0, BURST), 100.1)
    assert not is_worth_a_look(used_up, 100.1)


def test_a_look_takes_the_touch_up_whoever_it_was() -> None:
    vigil = looked(touched(Vigil(), 100.0, "nft (process 7)", is_told=False), 100.2, 0.1)
    assert (look_at(vigil), vigil.by, vigil.is_told) == (None, (), True)


def test_a_neighbour_who_fights_is_answered_some_times_at_once_and_then_now_and_then() -> None:
    vigil = spent(Vigil(), 100.0, BURST - 1)
    assert look_at(touched(vigil, 100.1)) == pytest.approx(100.1 + SETTLE_S)
    assert waits(vigil) == 0
    vigil = spent(vigil, 100.0, 1)
    assert waits(vigil) == pytest.approx(REFILL_S)
    assert look_at(touched(vigil, 100.1)) == pytest.approx(100.0 + REFILL_S)


def test_after_a_quiet_time_all_is_allowed_again() -> None:
    vigil = spent(Vigil(), 100.0, BURST)
    rested = looked(touched(vigil, 1000.0), 1000.01, 0.01)
    assert rested.allowance == BURST - 1


def test_looks_that_nothing_asked_for_cost_no_allowance() -> None:
    vigil = Vigil()
    for _ in range(3 * BURST):
        vigil = looked(vigil, 100.0, 0.01)
    assert vigil.allowance == BURST


def test_long_looks_are_rarer() -> None:
    vigil = spent(Vigil(), 100.0, BURST, took_s=1.0)
    assert refill_s(vigil) == pytest.approx(1.0 / LOOK_SHARE)
    assert waits(vigil) == pytest.approx(1.0 / LOOK_SHARE)


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=200),
    st.floats(0.001, 2),
)
def test_however_often_it_is_touched_looks_keep_to_their_share(gaps_s: list[float], took_s: float) -> None:
    """Beyond the burst, one look per refill: in any life of touches, whatever lies between them."""
    vigil, now, looks = looked(Vigil(), 0.0, took_s), 0.0, 0
    for gap_s in gaps_s:
        now += gap_s
        vigil = touched(vigil, now)
        at = look_at(vigil)
        assert at is not None
        if at <= now:
            now += took_s
            vigil = looked(vigil, now, took_s)
            looks += 1
    assert looks <= BURST + 1 + now / max(REFILL_S, took_s / LOOK_SHARE)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_every_touch_is_looked_at_in_the_end(gaps_s: list[float]) -> None:
    vigil, now = Vigil(), 0.0
    for gap_s in gaps_s:
        now += gap_s
        vigil = touched(vigil, now)
        at = look_at(vigil)
        assert at is not None
        assert at <= now + SETTLE_S + REFILL_S + 1e-6
        vigil = looked(vigil, max(now, at) + 0.001, 0.001)
        assert look_at(vigil) is None
        now = max(now, at) + 0.001


def test_the_first_glance_is_at_once_and_the_next_one_after_a_while() -> None:
    vigil = Vigil()
    assert glance_at(vigil) <= 100.0
    vigil = glanced(vigil, b"print", 100.0, 100.001)
    assert glance_at(vigil) == pytest.approx(100.001 + GLANCE_EVERY_S)
    assert look_at(vigil) is None


def test_another_fingerprint_is_a_touch_that_nobody_told_of() -> None:
    vigil = glanced(glanced(Vigil(), b"one", 100.0, 100.0), b"two", 102.0, 102.0)
    assert look_at(vigil) == pytest.approx(102.0 + SETTLE_S)
    assert not vigil.is_told
    assert look_at(glanced(looked(vigil, 102.1, 0.01), b"two", 104.0, 104.0)) is None


def test_what_we_wrote_is_no_touch() -> None:
    vigil = wrote(glanced(Vigil(), b"one", 100.0, 100.001), is_sure=True)
    assert glance_at(vigil) == pytest.approx(100.001 + 0.001 / GLANCE_SHARE)
    assert look_at(glanced(vigil, b"two", 101.0, 101.0)) is None


def test_a_glance_that_failed_is_no_touch_and_is_tried_again() -> None:
    vigil = glanced(glanced(Vigil(), b"one", 100.0, 100.001), None, 102.0, 102.001)
    assert look_at(vigil) is None
    assert glance_at(vigil) == pytest.approx(102.001 + 0.001 / GLANCE_SHARE)
    assert look_at(glanced(vigil, b"two", 104.0, 104.0)) is None


def test_long_glances_are_rarer() -> None:
    vigil = glanced(Vigil(), b"one", 100.0, 100.5)
    assert glance_at(vigil) == pytest.approx(100.5 + 0.5 / GLANCE_SHARE)


def test_after_a_write_that_left_room_for_others_a_look_confirms_once_there_is_a_fingerprint() -> None:
    vigil = wrote(Vigil(), is_sure=False)
    assert look_at(vigil) is None
    vigil = glanced(vigil, b"one", 100.0, 100.001)
    assert look_at(vigil) == 100.001
    assert look_at(looked(vigil, 100.2, 0.1)) is None


def test_confirming_leaves_some_of_the_allowance_for_touches() -> None:
    vigil, looks = Vigil(), 0
    while True:
        vigil = glanced(wrote(vigil, is_sure=False), b"one", 100.0, 100.0)
        at = look_at(vigil)
        assert at is not None
        if at > 100.0:
            break
        vigil, looks = looked(vigil, 100.01, 0.01), looks + 1
    assert looks == BURST - SPARED
    assert look_at(touched(vigil, 100.1)) == pytest.approx(100.1 + SETTLE_S)
