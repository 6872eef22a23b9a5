"""The netlink messages that find and remove tables, IP sets, counters and links by name. No socket.

Sources: include/uapi/linux/netfilter/{nf_tables,ipset/ip_set,nfnetlink_acct}.h, linux/rtnetlink.h. Each
function returns a message type and its payload; a name that is not there is answered with ENOENT (ENODEV for a link).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from kproxy.core.values import Family
from kproxy.netlink.attributes import Malformed, number, read, text, u8, walk
from kproxy.netlink.messages import Message, netfilter

Request = tuple[int, bytes]

NFPROTO: Final = {Family.IPV4: 2, Family.IPV6: 10}
_TABLES, _SETS, _COUNTERS = 10 << 8, 6 << 8, 7 << 8
GET_TABLE, DELETE_TABLE = _TABLES | 1, 2
"""The first is asked for by itself; the second stands in a batch, which adds the subsystem."""
_SET_PROTOCOL = 6
_LINK: Final = struct.Struct("=BxHiII")


def table_name(name: str, family: Family) -> bytes:
    """The payload that names an nf_tables table."""
    return netfilter(NFPROTO[family], text(1, name))


def find_set(name: str) -> Request:
    """Asks for a set's header."""
    return _SETS | 12, _named_set(name)


def dump_set(name: str) -> Request:
    """Asks for a set's members (a dump)."""
    return _SETS | 7, _named_set(name)


def destroy_set(name: str) -> Request:
    """Removes a set that no rule names."""
    return _SETS | 3, _named_set(name)


def _named_set(name: str) -> bytes:
    return netfilter(0, u8(1, _SET_PROTOCOL), text(2, name))


def set_ports(messages: Iterable[Message]) -> frozenset[int]:
    """The ports of the members in a set's dump (bitmap:port, hash:ip,port); Malformed if a length is wrong."""
    ports = set()
    for one in messages:
        members = read(memoryview(one.payload)[4:]).get(8, b"")
        for _, member in walk(members):
            inner = read(member)
            if (port := inner.get(4)) is not None:
                if len(port) != 2:  # noqa: PLR2004 - the bytes of a port
                    raise Malformed(f"port of {len(port)} bytes")
                ports.add(number(port))
    return frozenset(ports)


def find_counter(name: str) -> Request:
    """Asks for an nfacct object."""
    return _COUNTERS | 1, netfilter(0, text(1, name))


def delete_counter(name: str) -> Request:
    """Removes an nfacct object that no rule names."""
    return _COUNTERS | 3, netfilter(0, text(1, name))


def delete_link(name: str) -> Request:
    """Removes a network link, with its addresses."""
    return 17, _LINK.pack(0, 0, 0, 0, 0) + text(3, name)
