"""Attributes to bytes and back, and every way in which bytes are no attributes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.netlink.attributes import (
    NESTED,
    Malformed,
    attribute,
    nested,
    number,
    read,
    string,
    text,
    u8,
    u16,
    u32,
    u64,
    walk,
)

KINDS = st.integers(0, 0x3FFF)
ATTRIBUTES = st.lists(st.tuples(KINDS, st.binary(max_size=50)), max_size=6)


@given(ATTRIBUTES)
def test_what_is_written_is_read(items: list[tuple[int, bytes]]) -> None:
    written = b"".join(attribute(kind, payload) for kind, payload in items)
    assert list(walk(written)) == items
    assert list(walk(memoryview(written))) == items
    assert read(written) == dict(items)
    assert len(written) % 4 == 0


@given(KINDS, ATTRIBUTES)
def test_nested_attributes_are_a_payload(kind: int, items: list[tuple[int, bytes]]) -> None:
    outer = nested(kind, *(attribute(inner, payload) for inner, payload in items))
    ((read_kind, payload),) = walk(outer)
    assert read_kind == kind
    assert list(walk(payload)) == items
    assert int.from_bytes(outer[2:4], "little") & NESTED


@pytest.mark.parametrize(
    ("written", "length"),
    [(u8(1, 0xAB), 5), (u16(1, 0xABCD), 6), (u32(1, 0xABCDEF01), 8), (u64(1, 0xABCDEF0123456789), 12)],
)
def test_numbers_are_big_endian_and_padded(written: bytes, length: int) -> None:
    assert int.from_bytes(written[:2], "little") == length
    assert len(written) == (length + 3) & ~3
    ((_, payload),) = walk(written)
    assert len(payload) == length - 4
    assert number(payload) == 0xABCDEF0123456789 >> (64 - 8 * len(payload))


@given(st.text(max_size=40).filter(lambda value: "\0" not in value))
def test_strings_end_in_a_zero_byte(value: str) -> None:
    ((_, payload),) = walk(text(7, value))
    assert payload.endswith(b"\0")
    assert string(payload) == value


def test_bytes_that_are_no_text_are_still_shown() -> None:
    assert string(b"ab\xff\0rest") == "ab\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("broken", [b"\x03\0\x01\0", b"\x09\0\x01\0abcd", b"\xff\xff\x01\0abcd", b"\0\0\0\0"])
def test_a_length_that_cannot_be_is_malformed(broken: bytes) -> None:
    with pytest.raises(Malformed):
        list(walk(broken))


def test_a_rest_too_short_for_a_header_is_padding() -> None:
    assert list(walk(attribute(1, b"abcd") + b"\0\0")) == [(1, b"abcd")]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_malformed(noise: bytes) -> None:
    try:
        found = list(walk(noise))
    except Malformed:
        return
    assert sum(4 + len(payload) for _, payload in found) <= len(noise)


def test_only_a_part_is_walked_if_asked() -> None:
    buffer = attribute(1, b"aaaa") + attribute(2, b"bbbb")
    assert list(walk(buffer, 8)) == [(2, b"bbbb")]
    assert list(walk(buffer, 0, 8)) == [(1, b"aaaa")]
