"""IP sets to netlink and back (include/uapi/linux/netfilter/ipset/ip_set.h). No socket.

Numbers must say that they are in network order (NLA_F_NET_BYTEORDER), or the
kernel refuses them. The revisions are the first that have what we use, so that
old kernels take them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Final

from backends.ipvs.objects import NO_MARK, Kind, Mark, Member, SetId, Shape, Vip
from backends.ipvs.servers import PROTOCOLS
from kproxy.core.document import Content, ObjectId
from kproxy.core.values import Family, Protocol, family_of
from kproxy.netlink.addresses import address_text
from kproxy.netlink.attributes import attribute, nested, number, read, string, text, u8, u16, u32, u64, walk
from kproxy.netlink.messages import Message, netfilter
from kproxy.netlink.virtual_servers import NUMBERS

SUBSYSTEM: Final = 6
CREATE, DESTROY, LIST, ADD, DELETE = 2, 3, 7, 9, 10
ORDERED: Final = 0x4000
"""NLA_F_NET_BYTEORDER."""
PROTOCOL_VERSION: Final = 6
"""Of the messages; 7 is newer, and every kernel that takes it takes 6."""
MOST_MEMBERS: Final = 1 << 22
WITH_MARKS: Final = 1 << 6

_PROTOCOL, _NAME, _TYPE, _REVISION, _FAMILY, _DATA, _ADT = 1, 2, 3, 4, 5, 7, 8
_IP, _PREFIX, _PORT, _PROTO, _FLAGS, _MAX = 1, 3, 4, 7, 8, 19
_OTHER, _OTHER_PREFIX, _MARK = 20, 21, 27
_WORDS: Final = {Family.IPV4: 1, Family.IPV6: 2}

REVISIONS: Final = {
    Kind.ADDRESS: 4,
    Kind.PLACE: 5,
    Kind.PLACE_AND_NETWORK: 7,
    Kind.PLACE_AND_ADDRESS: 5,
    Kind.NETWORK_AND_PORT: 7,
}
KINDS: Final = {str(kind): kind for kind in Kind}
REASONS: Final = {
    4097: "the protocol version is not understood",
    4098: "the kernel has no such set type; load its module",
    4099: "too many sets",
    4100: "the set is in use by a rule",
    4102: "another set of this name has another type",
    4103: "the element is there already, or is not there",
    4352: "the set is full",
}


def create_request(name: str, shape: Shape, family: Family) -> bytes:
    """Makes a set."""
    data = u32(_MAX | ORDERED, MOST_MEMBERS) + (u32(_FLAGS | ORDERED, WITH_MARKS) if shape.marks else b"")
    return netfilter(
        NUMBERS[family],
        u8(_PROTOCOL, PROTOCOL_VERSION),
        text(_NAME, name),
        text(_TYPE, shape.kind),
        u8(_REVISION, REVISIONS[shape.kind]),
        u8(_FAMILY, NUMBERS[family]),
        nested(_DATA, data),
    )


def set_request(name: str, family: Family) -> bytes:
    """Names a set: for DESTROY."""
    return netfilter(NUMBERS[family], u8(_PROTOCOL, PROTOCOL_VERSION), text(_NAME, name))


def list_request() -> bytes:
    """Asks (as a dump) for all sets with their members."""
    return netfilter(0, u8(_PROTOCOL, PROTOCOL_VERSION))


def member_request(member: Member, mark: Mark) -> bytes:
    """Names a member and its mark: for ADD and DELETE."""
    data = _address(_IP, member.address) + u8(_PROTO, member.protocol.number) + u16(_PORT | ORDERED, member.port)
    if member.other:
        data += _address(_OTHER, member.other)
    if member.prefix >= 0:
        data += u8(_OTHER_PREFIX if member.other else _PREFIX, member.prefix)
    if mark != NO_MARK:
        data += u64(_MARK | ORDERED, mark.value << 32 | mark.mask)
    return _data(member.set, family_of(member.address), data)


def address_request(name: str, address: str) -> bytes:
    """Names a member of a set of addresses."""
    return _data(name, family_of(address), _address(_IP, address))


def _data(name: str, family: Family, data: bytes) -> bytes:
    return netfilter(NUMBERS[family], u8(_PROTOCOL, PROTOCOL_VERSION), text(_NAME, name), nested(_DATA, data))


def _address(kind: int, address: str) -> bytes:
    family = family_of(address)
    return nested(kind, attribute(_WORDS[family] | ORDERED, socket.inet_pton(NUMBERS[family], address)))


def read_sets(messages: Iterable[Message], prefix: str) -> Iterator[tuple[ObjectId, Content]]:
    """The sets whose names begin so, and their members; those of addresses alone are given as VIPs."""
    for received in messages:
        found = read(memoryview(received.payload)[4:])
        name = string(found[_NAME])
        if not name.startswith(prefix):
            continue
        kind = KINDS.get(string(found[_TYPE])) if _TYPE in found else None
        if kind is not None:
            flags = number(read(found.get(_DATA, b"")).get(_FLAGS, b"\0"))
            yield SetId(name), Shape(kind, bool(flags & WITH_MARKS))
        for _, data in walk(found.get(_ADT, b"")):
            yield _member(name, read(data))


def _member(name: str, data: dict[int, bytes]) -> tuple[ObjectId, Content]:
    address = _text(data[_IP])
    if _PORT not in data:
        return Vip(address), True
    protocol = PROTOCOLS.get(number(data[_PROTO]), Protocol.TCP)
    other = _text(data[_OTHER]) if _OTHER in data else ""
    prefix = data.get(_OTHER_PREFIX if other else _PREFIX)
    mark = number(data[_MARK]) if _MARK in data else 0
    member = Member(name, protocol, address, number(data[_PORT]), other, prefix[0] if prefix else -1)
    return member, Mark(mark >> 32, mark & 0xFFFFFFFF)


def _text(payload: bytes) -> str:
    return address_text(next(iter(read(payload).values()), b""))
