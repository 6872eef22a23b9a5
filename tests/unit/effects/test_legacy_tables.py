"""The fingerprint of legacy tables, on bytes as the kernel lays them out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.core.values import Family
from kproxy.effects.legacy_tables import LAYOUTS, Layout, without_counters


def entry(layout: Layout, extra: bytes, packets: int) -> bytes:
    """A rule: what it matches, its length, its counters, its target."""
    head = bytearray(layout.counters_end)
    head[0:4] = extra[:4].ljust(4, b"\1")
    struct.pack_into("=H", head, layout.next_at, len(head) + len(extra))
    struct.pack_into("=QQ", head, layout.counters_at, packets, packets * 60)
    return bytes(head) + extra


@pytest.mark.parametrize("family", Family)
def test_counters_make_no_difference_and_all_else_does(family: Family) -> None:
    layout = LAYOUTS[family]

    def seen(*rules: tuple[bytes, int]) -> bytes:
        return bytes(without_counters(bytearray(b"".join(entry(layout, *rule) for rule in rules)), layout))

    idle = seen((b"target-a", 0), (b"longer target", 0), (b"c", 0))
    assert seen((b"target-a", 7), (b"longer target", 2**56), (b"c", 1)) == idle
    assert seen((b"target-b", 0), (b"longer target", 0), (b"c", 0)) != idle
    assert seen((b"target-a", 0), (b"c", 0), (b"longer target", 0)) != idle


@given(st.binary(max_size=600), st.sampled_from(Family))
def test_any_bytes_end_and_keep_their_length(noise: bytes, family: Family) -> None:
    assert len(without_counters(bytearray(noise), LAYOUTS[family])) == len(noise)
