"""Interface addresses in rtnetlink's words, to bytes and back; no socket.

Sources: include/uapi/linux/rtnetlink.h, include/uapi/linux/if_addr.h.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

from kproxy.netlink.attributes import Malformed, read
from kproxy.netlink.messages import NLM_F_DUMP, NLM_F_REQUEST, Message, message

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
ADDRESS_GROUPS = 0x10 | 0x100
"""RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR, as a socket binds them."""

IFA_ADDRESS, IFA_LOCAL = 1, 2
_IFADDRMSG = struct.Struct("=BBBBI")


def dump_request(sequence: int) -> bytes:
    """Asks for every address of both families."""
    return message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, sequence, _IFADDRMSG.pack(0, 0, 0, 0, 0))


def read_addresses(messages: Iterable[Message], link: int | None = None, without: int | None = None) -> frozenset[str]:
    """The node's own addresses in a dump, canonical; Malformed for what is no address.

    `link`: only those of that index; `without`: none of that one's. On a point-to-point link IFA_ADDRESS is the other
    end's, so IFA_LOCAL comes first.
    """
    found = set()
    for one in messages:
        if one.kind == RTM_NEWADDR:
            if len(one.payload) < _IFADDRMSG.size:
                raise Malformed(f"address message of {len(one.payload)} bytes")
            index = _IFADDRMSG.unpack_from(one.payload)[4]
            if index == without or (link is not None and index != link):
                continue
            attributes = read(memoryview(one.payload)[_IFADDRMSG.size :])
            own = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
            if own is not None:
                found.add(address_text(own))
    return frozenset(found)


def address_text(packed: bytes) -> str:
    """The canonical text of 4 or 16 bytes in network order; Malformed for any other number of them."""
    try:
        return str(ipaddress.ip_address(packed))
    except ValueError as error:
        raise Malformed(f"address of {len(packed)} bytes") from error
