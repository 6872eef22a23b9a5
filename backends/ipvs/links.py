"""The dummy link and its addresses to rtnetlink and back (include/uapi/linux/if_link.h, if_addr.h). No socket.

VIPs are of host scope (IPv4) or deprecated (IPv6), so that the node never takes
one as the source of a connection to anybody else.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable
from typing import Final

from kproxy.core.values import Family, family_of
from kproxy.netlink.attributes import attribute, nested, read, text, u8
from kproxy.netlink.generic import host_u32
from kproxy.netlink.messages import Message
from kproxy.netlink.virtual_servers import NUMBERS

NEW_LINK, GET_LINK, SET_LINK = 16, 18, 19
NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 20, 21, 22

_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_LIFETIMES: Final = struct.Struct("=IIII")
_NAME, _INFO, _AF_SPEC = 3, 18, 26
_INFO_KIND, _GENERATION = 1, 8
_NO_LINK_LOCAL: Final = 1
_UP: Final = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LIFETIMES, _IFA_FLAGS = 1, 2, 6, 8
_NO_DAD: Final = 0x2
_FOR_EVER: Final = 0xFFFFFFFF
SCOPE_HOST, SCOPE_GLOBAL, SCOPE_LINK = 254, 0, 253


def dummy_request(name: str) -> bytes:
    """Makes a dummy link."""
    return _link(0, 0) + text(_NAME, name) + nested(_INFO, text(_INFO_KIND, "dummy"))


def quiet_request(index: int) -> bytes:
    """No link-local address of its own, then nothing but ours is on the link."""
    return _link(index, 0) + nested(_AF_SPEC, nested(socket.AF_INET6, u8(_GENERATION, _NO_LINK_LOCAL)))


def up_request(index: int) -> bytes:
    """Brings a link up."""
    return _link(index, _UP)


def link_request(name: str) -> bytes:
    """Asks for a link by its name; ENODEV if there is none."""
    return _link(0, 0) + text(_NAME, name)


def read_link(answers: Iterable[Message]) -> tuple[int, bool]:
    """The link's number, 0 if there is none among the answers, and whether it is up."""
    for received in answers:
        _, _, index, flags, _ = _LINK.unpack_from(received.payload)
        return index, bool(flags & _UP)
    return 0, False


def address_request(address: str, index: int) -> bytes:
    """Names an address of a link, as ours are."""
    family = family_of(address)
    scope = SCOPE_HOST if family is Family.IPV4 else SCOPE_GLOBAL
    payload = socket.inet_pton(NUMBERS[family], address)
    head = _ADDRESS.pack(NUMBERS[family], family.address_bits, 0, scope, index)
    body = attribute(_IFA_LOCAL, payload) + attribute(_IFA_ADDRESS, payload)
    if family is Family.IPV6:
        body += attribute(_IFA_LIFETIMES, _LIFETIMES.pack(0, _FOR_EVER, 0, 0)) + host_u32(_IFA_FLAGS, _NO_DAD)
    return head + body


def addresses_request(family: Family) -> bytes:
    """Asks (as a dump) for all addresses of a family."""
    return _ADDRESS.pack(NUMBERS[family], 0, 0, 0, 0)


def read_addresses(messages: Iterable[Message], index: int) -> tuple[frozenset[str], frozenset[str]]:
    """The addresses on this link, and those on any other; none of a link's own local ones."""
    here: set[str] = set()
    elsewhere: set[str] = set()
    for received in messages:
        if received.kind == NEW_ADDRESS:
            scope, at = _ADDRESS.unpack_from(received.payload)[3:5]
            found = read(memoryview(received.payload)[_ADDRESS.size :])
            payload = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
            if payload is not None and scope != SCOPE_LINK:
                (here if at == index else elsewhere).add(str(ipaddress.ip_address(payload)))
    return frozenset(here), frozenset(elsewhere)


def _link(index: int, flags: int) -> bytes:
    return _LINK.pack(0, 0, index, flags, flags)
