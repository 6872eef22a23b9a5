"""Messages, acknowledgements and batches, held against bytes that a kernel (6.18) sent."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.netlink.attributes import Malformed, attribute, read
from kproxy.netlink.messages import (
    HEADER,
    NFGENMSG,
    NFNL_BATCH_GENID,
    NFNL_MSG_BATCH_BEGIN,
    NFNL_MSG_BATCH_END,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSG_DONE,
    NLMSG_ERROR,
    Ack,
    Message,
    batch_begin,
    batch_end,
    first_sequence,
    last_message,
    message,
    netfilter,
    read_ack,
    walk,
)

NUMBERS = st.integers(0, 0xFFFFFFFF)
MESSAGES = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), NUMBERS, st.lists(st.binary(max_size=20), max_size=3)),
    min_size=1,
    max_size=5,
)


@given(MESSAGES)
def test_what_is_written_is_read(items: list[tuple[int, int, int, list[bytes]]]) -> None:
    written = [
        (kind, flags, sequence, b"".join(attribute(1, part) for part in parts))
        for kind, flags, sequence, parts in items
    ]
    buffer = b"".join(message(*item) for item in written)
    found = list(walk(buffer))
    assert [(one.kind, one.flags, one.sequence, one.payload) for one in found] == written
    assert last_message(buffer) == found[-1]
    assert first_sequence(buffer) == found[0].sequence


@pytest.mark.parametrize(
    "broken",
    [HEADER.pack(15, 1, 0, 1, 0), HEADER.pack(17, 1, 0, 1, 0), HEADER.pack(0, 1, 0, 1, 0)],
    ids=["shorter than its header", "longer than the buffer", "of no length"],
)
def test_a_length_that_cannot_be_is_malformed(broken: bytes) -> None:
    with pytest.raises(Malformed):
        list(walk(broken))
    with pytest.raises(Malformed):
        last_message(broken)


def test_an_empty_buffer_has_no_sequence() -> None:
    with pytest.raises(Malformed):
        first_sequence(b"")


def ack_of(error: int, flags: int, rest: bytes = b"", *, original: bytes = b"") -> Message:
    repeated = message(0x0A00, 5, 77, original)
    shown = repeated[:16] if flags & NLM_F_CAPPED else repeated
    return Message(NLMSG_ERROR, flags, 77, 0, (-error).to_bytes(4, "little", signed=True) + shown + rest)


WORDS = attribute(1, b"Unsupported family\0") + attribute(2, (36).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (ack_of(0, NLM_F_CAPPED), Ack(77, 0)),
        (ack_of(errno.ENOENT, NLM_F_CAPPED), Ack(77, errno.ENOENT)),
        (ack_of(errno.ENOENT, NLM_F_CAPPED | NLM_F_ACK_TLVS, WORDS), Ack(77, errno.ENOENT, "Unsupported family", 36)),
        (
            ack_of(errno.EPERM, NLM_F_ACK_TLVS, WORDS, original=attribute(1, b"abc")),
            Ack(77, 1, "Unsupported family", 36),
        ),
        (Message(NLMSG_DONE, 2, 9, 0, bytes(4)), Ack(9, 0)),
        (Message(NLMSG_DONE, 2, 9, 0, b""), Ack(9, 0)),
        (Message(NLMSG_DONE, 2, 9, 0, (-errno.EINTR).to_bytes(4, "little", signed=True)), Ack(9, errno.EINTR)),
    ],
    ids=["success", "error", "error in words", "with all of the message", "done", "done, short", "done with an error"],
)
def test_acknowledgements(received: Message, expected: Ack) -> None:
    assert read_ack(received) == expected


CAPTURED = json.loads((Path(__file__).parents[2] / "data" / "netlink" / "captures.json").read_text())[
    "acknowledgements"
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("get an unknown table", [Ack(7, errno.ENOENT, "", 20)]),
        (
            "a batch with a short key and an unknown set",
            [Ack(21, errno.EINVAL, "", 68), Ack(22, errno.ENOENT, "", 32)],
        ),
        ("a batch for another generation", [Ack(30, errno.ERESTART)]),
        ("a batch that is taken", [Ack(41, 0)]),
    ],
)
def test_what_a_kernel_sent(name: str, expected: list[Ack]) -> None:
    assert [read_ack(received) for received in walk(bytes.fromhex(CAPTURED[name]))] == expected


@pytest.mark.parametrize("length", [0, 3, 4, 19])
def test_a_short_acknowledgement_is_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        read_ack(Message(NLMSG_ERROR, NLM_F_CAPPED, 1, 0, bytes(length)))


def test_a_batch_is_framed_for_its_subsystem() -> None:
    begin, end = walk(batch_begin(5, 10) + batch_end(9, 10))
    assert (begin.kind, end.kind) == (NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END)
    assert (begin.sequence, end.sequence) == (5, 9)
    assert NFGENMSG.unpack(begin.payload) == NFGENMSG.unpack(end.payload) == (0, 0, 10)


def test_a_batch_may_depend_on_a_generation() -> None:
    (begin,) = walk(batch_begin(5, 10, 0x01020304))
    assert read(begin.payload[4:]) == {NFNL_BATCH_GENID: b"\x01\x02\x03\x04"}


def test_a_netfilter_payload_begins_with_its_family() -> None:
    assert netfilter(2, attribute(1, b"abcd")) == b"\x02\0\0\0" + attribute(1, b"abcd")
