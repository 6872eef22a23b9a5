"""What is held back changes nothing, and what changes something is never held back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kproxy.core.known import OFTEN_S, REST_S, Known, Rest
from kproxy.core.model import Applied, Deleted, EndpointSlice, Event, Kind, Replaced
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, ObjectKey

SLICES = [
    EndpointSlice(ObjectKey("shop", name), ObjectKey("shop", owner), family, (), ())
    for name in ("a", "b")
    for owner in ("cart", "mall")
    for family in Family
]
KEYS = st.sampled_from(sorted({item.key for item in SLICES}))
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from(SLICES).map(Applied),
    KEYS.map(lambda key: Deleted(Kind.ENDPOINT_SLICE, key)),
    st.builds(
        lambda items, unreadable: Replaced(
            Kind.ENDPOINT_SLICE, tuple({item.key: item for item in items}.values()), unreadable
        ),
        st.lists(st.sampled_from(SLICES), max_size=3),
        st.frozensets(KEYS, max_size=1),
    ),
)


@given(st.lists(st.lists(EVENTS, max_size=4), max_size=6))
@settings(max_examples=300, deadline=None)
def test_the_snapshot_is_the_same_without_what_is_held_back(batches: list[list[Event]]) -> None:
    known = Known()
    whole = less = Snapshot()
    for batch in batches:
        whole, less = fold(whole, batch), fold(less, known.news(batch))
        assert less == whole


def test_a_heartbeat_is_no_news_and_a_change_is() -> None:
    known, item = Known(), SLICES[0]
    other = replace(item, service=ObjectKey("shop", "web"))
    assert known.news([Applied(item)]) == (Applied(item),)
    assert known.news([Applied(replace(item)), Applied(replace(item), triggered_at=5.0)]) == ()
    assert known.news([Applied(other), Applied(item), Applied(item)]) == (Applied(other), Applied(item))


def test_what_a_list_held_is_no_news_afterwards_and_what_it_lacked_is() -> None:
    known, item, lost = Known(), SLICES[0], SLICES[-1]
    known.news([Applied(lost)])
    listed = Replaced(Kind.ENDPOINT_SLICE, (item,))
    assert known.news([listed, Applied(replace(item)), Applied(lost)]) == (listed, Applied(lost))


def test_what_is_deleted_and_comes_again_is_news() -> None:
    known, item = Known(), SLICES[0]
    events: list[Event] = [Applied(item), Deleted(Kind.ENDPOINT_SLICE, item.key), Applied(item)]
    assert known.news(events) == tuple(events)


def test_a_lone_read_without_news_delays_nothing_and_many_are_left_to_gather() -> None:
    rest = Rest()
    waits = [(now, rest.after_nothing(now) - now) for now in (10.0, 10.0 + 2 * OFTEN_S, 10.11, 10.13, 10.15, 10.3)]
    assert [wait_s for _, wait_s in waits] == pytest.approx([0.0, 0.0, REST_S, REST_S, REST_S, 0.0])
