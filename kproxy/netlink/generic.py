"""Generic netlink: its header, and how a family's number is found (include/uapi/linux/genetlink.h). No socket.

Numbers in generic netlink are in host order, unlike netfilter's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from kproxy.netlink.attributes import attribute, read, text
from kproxy.netlink.messages import Message

NETLINK_GENERIC: Final = 16
HEADER: Final = struct.Struct("=BBH")

_CONTROLLER: Final = 0x10
_GET_FAMILY: Final = 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")


def generic(command: int, *attributes: bytes, version: int = 1) -> bytes:
    """The payload of a generic netlink message."""
    return HEADER.pack(command, version, 0) + b"".join(attributes)


def attributes_of(received: Message) -> dict[int, bytes]:
    """The attributes of a received message."""
    return read(memoryview(received.payload)[HEADER.size :])


def family_request(name: str) -> tuple[int, bytes]:
    """The message type and payload that ask for a family by name."""
    return _CONTROLLER, generic(_GET_FAMILY, text(_FAMILY_NAME, name))


def read_family(answers: Iterable[Message]) -> int:
    """The family's number, which is its messages' type; KeyError if it is not told."""
    for received in answers:
        return host_number(attributes_of(received)[_FAMILY_ID])
    raise KeyError(_FAMILY_ID)


def host_u16(kind: int, number: int) -> bytes:
    """An attribute of two bytes in host order."""
    return attribute(kind, _U16.pack(number))


def host_u32(kind: int, number: int) -> bytes:
    """An attribute of four bytes in host order."""
    return attribute(kind, _U32.pack(number))


def host_number(payload: bytes) -> int:
    """A number in host order, of any width."""
    return int.from_bytes(payload, "little" if _LITTLE else "big")


_LITTLE: Final = _U16.pack(1)[0] == 1
