"""The door that tells cheaply whether legacy iptables tables have changed: by the kernel's copy without counters.

The legacy tables send no notifications, and `iptables-save` takes seconds where there are many rules. The socket option
behind it takes milliseconds. Sources: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

from kproxy.core.values import Family, Value

GET_INFO, GET_ENTRIES = 64, 65
NAME_BYTES, INFO_BYTES, HEAD_BYTES = 32, 84, 40
ATTEMPTS: Final = 5
"""How often a table that grows while it is read is read anew."""
RAW = 255
_SIZE: Final = struct.Struct("=I")
_NEXT: Final = struct.Struct("=H")


class Layout(Value, frozen=True):
    """Where things are in a rule, as the kernel gives it."""

    address_family: int
    level: int
    next_at: int
    """Of the rule's length in bytes."""
    counters_at: int
    counters_end: int


LAYOUTS: Final = {
    Family.IPV4: Layout(socket.AF_INET, 0, 90, 96, 112),
    Family.IPV6: Layout(socket.AF_INET6, 41, 142, 152, 168),
}
_libc = ctypes.CDLL(None, use_errno=True)


def fingerprint(family: Family, tables: Iterable[str]) -> bytes:
    """A digest of these tables' rules, the same as long as nobody has changed one; OSError if they cannot be read."""
    layout = LAYOUTS[family]
    digest = hashlib.blake2b(digest_size=16)
    with socket.socket(layout.address_family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, RAW) as raw:
        for table in tables:
            rules = _rules(raw, layout, table.encode())
            digest.update(_SIZE.pack(len(rules)))
            digest.update(without_counters(rules, layout))
    return digest.digest()


def without_counters(rules: bytearray, layout: Layout) -> bytearray:
    """The rules with zeroes for their counters, in place; what does not add up is left as it is from there on."""
    nothing = bytes(layout.counters_end - layout.counters_at)
    at, end = 0, len(rules) - layout.counters_end
    while at <= end:
        rules[at + layout.counters_at : at + layout.counters_end] = nothing
        (length,) = _NEXT.unpack_from(rules, at + layout.next_at)
        if length < layout.counters_end:
            break
        at += length
    return rules


def _rules(raw: socket.socket, layout: Layout, table: bytes) -> bytearray:
    """A table's rules as they are in the kernel; empty if there is no such table."""
    for _ in range(ATTEMPTS):
        try:
            info = _option(raw, layout, GET_INFO, table, INFO_BYTES)
            size = _SIZE.unpack_from(info, INFO_BYTES - _SIZE.size)[0]
            question = table.ljust(NAME_BYTES, b"\0") + _SIZE.pack(size)
            return _option(raw, layout, GET_ENTRIES, question, HEAD_BYTES + size)[HEAD_BYTES:]
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOPROTOOPT):
                return bytearray()
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, "the table changed while it was read, every time")


def _option(raw: socket.socket, layout: Layout, option: int, question: bytes, size: int) -> bytearray:
    """getsockopt(2) whose buffer holds a question first, which Python's own cannot ask."""
    buffer = bytearray(size)
    buffer[: len(question)] = question
    length = ctypes.c_uint32(size)
    place = (ctypes.c_char * size).from_buffer(buffer)
    if _libc.getsockopt(raw.fileno(), layout.level, option, place, ctypes.byref(length)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer
