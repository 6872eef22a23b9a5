"""Marks: ours, distinct, and clear of the bits that are not ours to use."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.ipvs.names import SLOTS, allocate, mark_for

BITS = st.integers(0, 31)


@given(BITS, st.lists(st.integers(0, SLOTS - 1), min_size=2, max_size=20, unique=True))
def test_marks_are_distinct_and_leave_the_masquerade_bit_and_kubelets_alone(bit: int, slots: list[int]) -> None:
    marks = [mark_for(slot, bit) for slot in slots]
    assert len(set(marks)) == len(marks)
    assert all(0 < mark < 1 << 32 and not mark & (1 << bit | 1 << 15) for mark in marks)


@given(st.sets(st.text(max_size=5), max_size=30), st.text(max_size=5))
@settings(deadline=None)
def test_slots_do_not_depend_on_the_order_and_stay_when_another_key_comes(keys: set[str], other: str) -> None:
    found = allocate(keys)
    assert found == allocate(sorted(keys, reverse=True))
    assert len(set(found.values())) == len(keys)
    assert {key: allocate(keys | {other})[key] for key in keys} == found


def test_keys_of_one_checksum_get_slots_of_their_own() -> None:
    first, second = "plumless", "buckeroo"
    assert zlib.crc32(first.encode()) == zlib.crc32(second.encode())
    assert sorted(allocate([first, second]).values()) == [slot := allocate([first])[first], slot + 1]
