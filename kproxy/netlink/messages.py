"""Netlink messages, acknowledgements and netfilter's batches, to bytes and back.

Sources: include/uapi/linux/netlink.h, include/uapi/linux/netfilter/nfnetlink.h.
Nothing here knows a socket. A batch is BEGIN, messages, END; without END the
kernel validates all of it and takes nothing (nfnetlink_rcv_batch, net/netfilter/nfnetlink.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from kproxy.core.values import Value
from kproxy.netlink.attributes import Malformed, string, u32
from kproxy.netlink.attributes import walk as walk_attributes

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_ECHO = 0x1, 0x2, 0x4, 0x8
NLM_F_DUMP_INTR = 0x10
"""The dump is not of one moment: what it shows was changed while it ran."""
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP = 0x300
NLM_F_NONREC = 0x100
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200

NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS = 1, 2

NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11
NFNL_BATCH_GENID = 1

HEADER = struct.Struct("=IHHII")
NFGENMSG = struct.Struct(">BBH")
_LENGTH = struct.Struct("=I")
_ERROR = struct.Struct("=i")


class Message(NamedTuple):
    """A message as received; `kind` is nlmsg_type, for netfilter (subsystem << 8 | message)."""

    kind: int
    flags: int
    sequence: int
    port: int
    payload: bytes


class Ack(Value, frozen=True):
    """What the kernel says to one message: `error` is an errno, 0 for success."""

    sequence: int
    error: int
    text: str = ""
    """The extended acknowledgement's words, often empty."""
    offset: int | None = None
    """Where in the message, counted from its header, the offending attribute begins."""


def message(kind: int, flags: int, sequence: int, payload: bytes = b"") -> bytes:
    """A message with its header; the payload must be padded already, as attributes are."""
    return HEADER.pack(16 + len(payload), kind, flags, sequence, 0) + payload


def netfilter(family: int, *attributes: bytes, resource: int = 0) -> bytes:
    """The payload of a netfilter message: struct nfgenmsg, then attributes. `resource` is res_id."""
    return NFGENMSG.pack(family, 0, resource) + b"".join(attributes)


def walk(buffer: bytes | memoryview) -> Iterator[Message]:
    """Every message of a received buffer, in order; Malformed on a bad length."""
    position, end = 0, len(buffer)
    while position + HEADER.size <= end:
        length, kind, flags, sequence, port = HEADER.unpack_from(buffer, position)
        if length < HEADER.size or position + length > end:
            raise Malformed(f"message of {length} bytes at {position}, {end - position} are left")
        yield Message(kind, flags, sequence, port, bytes(buffer[position + 16 : position + length]))
        position += (length + 3) & ~3


def first_sequence(buffer: bytes) -> int:
    """The sequence number of a received buffer's first message; Malformed if there is none."""
    if len(buffer) < HEADER.size:
        raise Malformed(f"buffer of {len(buffer)} bytes")
    sequence: int = HEADER.unpack_from(buffer)[3]
    return sequence


def last_message(buffer: bytes) -> Message:
    """A received buffer's last message, found by lengths alone; Malformed if they do not add up."""
    position, end, start = 0, len(buffer), 0
    while position + HEADER.size <= end:
        start, (length,) = position, _LENGTH.unpack_from(buffer, position)
        if length < HEADER.size or position + length > end:
            raise Malformed(f"message of {length} bytes at {position}, {end - position} are left")
        position += (length + 3) & ~3
    return next(walk(buffer[start:]))


def read_ack(received: Message) -> Ack:
    """The acknowledgement in an NLMSG_ERROR or NLMSG_DONE message; Malformed if it is too short.

    An NLMSG_ERROR repeats the header of the message it answers (all of the
    message unless NLM_F_CAPPED is set), then come the extended attributes.
    """
    payload = received.payload
    if received.kind == NLMSG_DONE and len(payload) < _ERROR.size:
        return Ack(received.sequence, 0)
    if len(payload) < _ERROR.size:
        raise Malformed(f"acknowledgement of {len(payload)} bytes")
    error = -_ERROR.unpack_from(payload)[0]
    start, sequence = _ERROR.size, received.sequence
    if received.kind == NLMSG_ERROR:
        if len(payload) < _ERROR.size + HEADER.size:
            raise Malformed(f"acknowledgement of {len(payload)} bytes")
        length, _, _, sequence, _ = HEADER.unpack_from(payload, start)
        start += HEADER.size if received.flags & NLM_F_CAPPED else (length + 3) & ~3
    words, offset = "", None
    if received.flags & NLM_F_ACK_TLVS:
        for kind, value in walk_attributes(payload, start):
            if kind == NLMSGERR_ATTR_MSG:
                words = string(value)
            elif kind == NLMSGERR_ATTR_OFFS:
                offset = int.from_bytes(value, "little" if _LITTLE else "big")
    return Ack(sequence, error, words, offset)


_LITTLE = HEADER.pack(1, 0, 0, 0, 0)[0] == 1


def batch_begin(sequence: int, subsystem: int, generation: int | None = None) -> bytes:
    """Opens a batch; with `generation` the kernel refuses it (ERESTART) unless its rule set is still that one."""
    attributes = () if generation is None else (u32(NFNL_BATCH_GENID, generation),)
    return message(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, sequence, netfilter(0, *attributes, resource=subsystem))


def batch_end(sequence: int, subsystem: int) -> bytes:
    """Closes a batch, so that it is committed."""
    return message(NFNL_MSG_BATCH_END, NLM_F_REQUEST, sequence, netfilter(0, resource=subsystem))
