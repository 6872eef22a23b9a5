"""Netlink attributes to bytes and back (include/uapi/linux/netlink.h, struct nlattr).

An attribute is a length and a type, two bytes each in host order, and a
payload, padded to four bytes. Numbers in netfilter's attributes are big-endian.
Whatever the kernel sends is walked with its lengths checked: `Malformed` says
where it does not add up.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

NESTED = 0x8000
"""NLA_F_NESTED: the payload is attributes again."""
TYPE_MASK = 0x3FFF
"""NLA_TYPE_MASK: the type without NESTED and NET_BYTEORDER."""

HEADER = struct.Struct("=HH")
PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
"""By the payload's length modulo four."""

_U8 = struct.Struct("=HHB3x")
_U16 = struct.Struct("=HH2s2x")
_U32 = struct.Struct("=HH4s")
_U64 = struct.Struct("=HH8s")


class Malformed(ValueError):
    """Bytes that are no netlink: a length is beyond its buffer."""


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded. The payload has at most 65,531 bytes (struct.error beyond)."""
    return HEADER.pack(4 + len(payload), kind) + payload + PADDING[len(payload) & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute whose payload is the given attributes."""
    payload = b"".join(attributes)
    return HEADER.pack(4 + len(payload), kind | NESTED) + payload


def u8(kind: int, number: int) -> bytes:
    """An attribute of one byte."""
    return _U8.pack(5, kind, number)


def u16(kind: int, number: int) -> bytes:
    """An attribute of two bytes, big-endian."""
    return _U16.pack(6, kind, number.to_bytes(2, "big"))


def u32(kind: int, number: int) -> bytes:
    """An attribute of four bytes, big-endian."""
    return _U32.pack(8, kind, number.to_bytes(4, "big"))


def u64(kind: int, number: int) -> bytes:
    """An attribute of eight bytes, big-endian."""
    return _U64.pack(12, kind, number.to_bytes(8, "big"))


def text(kind: int, value: str) -> bytes:
    """A string attribute, with the zero byte that NLA_STRING wants."""
    return attribute(kind, value.encode() + b"\0")


def walk(buffer: bytes | memoryview, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Every attribute in `buffer[start:end]` as (type without flags, payload), in order; Malformed on a bad length."""
    stop = len(buffer) if end is None else end
    unpack = HEADER.unpack_from
    while start + 4 <= stop:
        length, kind = unpack(buffer, start)
        if length < HEADER.size or start + length > stop:
            raise Malformed(f"attribute of {length} bytes at {start}, {stop - start} are left")
        yield kind & TYPE_MASK, bytes(buffer[start + 4 : start + length])
        start += (length + 3) & ~3


def read(buffer: bytes | memoryview) -> dict[int, bytes]:
    """The attributes of a buffer by type; the last of a type counts."""
    return dict(walk(buffer))


def number(payload: bytes) -> int:
    """A big-endian number of any width."""
    return int.from_bytes(payload, "big")


def string(payload: bytes) -> str:
    """A string up to its zero byte; bytes that are not UTF-8 become replacement characters."""
    return payload.partition(b"\0")[0].decode(errors="replace")
