from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.lines import LineSplitter
from kproxy.errors import ApiError


def split(chunks: list[bytes]) -> tuple[list[bytes], int]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)], splitter.pending_bytes


@pytest.mark.parametrize(
    ("chunks", "lines", "pending"),
    [
        ([b""], [], 0),
        ([b"a\nb\n"], [b"a", b"b"], 0),
        ([b"a", b"b", b"c\nd"], [b"abc"], 1),
        ([b"a", b"\n"], [b"a"], 0),
        ([b"\n\r\n \na\n"], [b"a"], 0),
        ([b"half"], [], 4),
    ],
)
def test_lines_are_whole_whatever_the_pieces(chunks: list[bytes], lines: list[bytes], pending: int) -> None:
    assert split(chunks) == (lines, pending)


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.data())
@settings(max_examples=150, deadline=None)
def test_any_cutting_gives_the_same_lines(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)) | {0, len(stream)})
    chunks = [stream[start:end] for start, end in pairwise(cuts)]
    assert split(chunks) == ([line for line in lines if line.strip()], 0)


def test_a_line_beyond_the_limit_is_refused_not_kept() -> None:
    splitter = LineSplitter(limit_bytes=10)
    assert splitter.feed(b"0123456789") == ()
    with pytest.raises(ApiError, match="longer than 10 bytes"):
        splitter.feed(b"0")
