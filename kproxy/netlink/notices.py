"""What the kernel tells unasked about rules, links and addresses, read for the question whether it may be about us.

Pure: bytes in, `Touch`es out. Rules kept: a notification only says "look", so what cannot be told apart concerns us;
what is plainly somebody else's (another table, a chain that does not name ours, another link) costs nothing but this
reading. A transaction of nf_tables is told object by object and ends with the message that names its process
(NFT_MSG_NEWGEN); the kernel never mixes two.

Sources: include/uapi/linux/netfilter/nf_tables.h, linux/rtnetlink.h, net/netfilter/nf_tables_api.c.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from kproxy.core.values import Family, Value
from kproxy.netlink.attributes import HEADER, Malformed, number, read, string
from kproxy.netlink.messages import NFGENMSG, Message, walk
from kproxy.netlink.virtual_servers import NUMBERS

RULES_GROUP: Final = 7
"""NFNLGRP_NFTABLES."""
ROUTE_GROUPS: Final = (1, 5, 9)
"""RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR: links, and addresses of both families."""

_NF_TABLES = 10
_DELETE_TABLE, _NEW_GENERATION = 2, 15
_PROCESS, _PROCESS_NAME = 2, 3
_NAME_ATTRIBUTE = 1
_NEW_LINK, _DELETE_LINK, _NEW_ADDRESS, _DELETE_ADDRESS = 16, 17, 20, 21
_LINK_NAME, _IFA_ADDRESS, _IFA_LOCAL = 3, 1, 2
_UP = 1
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_FAMILIES: Final = {number: family for family, number in NUMBERS.items()}


class Interest(Value, frozen=True):
    """What of the kernel's notifications may be about one family's rules."""

    family: Family
    tables: frozenset[str] = frozenset()
    """The nf_tables tables that hold something of ours."""
    mark: bytes = b""
    """What is in every message about something of ours in them; empty: all of these tables is ours."""
    link: str = ""
    """The link whose addresses are ours."""
    ports: frozenset[int] = frozenset()
    """Netlink ports that we alone write by: what comes of them is not worth telling."""
    is_partial: bool = False
    """Whether some of what is ours is told of by nobody, so that it has to be glanced at."""


class Touch(Value, frozen=True):
    """Something that may be ours was changed by somebody; only a look can tell."""

    family: Family
    port: int = 0
    """The netlink port that it was changed by, of most programs their process id; 0 if not known."""
    by: str = ""
    """Who it was, `nft (process 4711)`; empty if not known."""
    address: str = ""
    """The address that came or went, if it was one."""
    is_gone: bool = True
    """Whether the address went."""


def read_rules(
    pending: frozenset[Family], buffer: bytes, interests: Iterable[Interest]
) -> tuple[frozenset[Family], list[Touch]]:
    """The touches that a buffer of nf_tables' notifications completes, and the families of an unfinished one.

    Malformed if its lengths do not add up.
    """
    wanted = {(NUMBERS[one.family], name.encode()): one for one in interests for name in one.tables}
    touches: list[Touch] = []
    for message in walk(buffer):
        if message.kind >> 8 != _NF_TABLES:
            continue
        if message.kind & 0xFF == _NEW_GENERATION:
            by = _process(message)
            touches += [Touch(family, message.port, by) for family in sorted(pending)]
            pending = frozenset()
            continue
        found = wanted.get((message.payload[0] if message.payload else 0, _table(message)))
        if found is not None and (found.mark in message.payload or message.kind & 0xFF == _DELETE_TABLE):
            pending |= {found.family}
    return pending, touches


def _table(message: Message) -> bytes:
    """The table's name, which is attribute 1 of every kind of object and the first that is told; empty without one."""
    payload, start = message.payload, NFGENMSG.size
    if len(payload) < start + HEADER.size:
        return b""
    length, kind = HEADER.unpack_from(payload, start)
    return payload[start + HEADER.size : start + length - 1] if kind == _NAME_ATTRIBUTE else b""


def _process(message: Message) -> str:
    found = read(message.payload[NFGENMSG.size :])
    name = string(found.get(_PROCESS_NAME, b""))
    return described(name, number(found[_PROCESS])) if _PROCESS in found else name


def described(name: str, process: int) -> str:
    """`nft (process 4711)`; `process 4711` where its name is not known."""
    return f"{name} (process {process})" if name else f"process {process}"


def read_links(buffer: bytes, numbers: Mapping[str, int], interests: Sequence[Interest]) -> Iterator[Touch]:
    """The touches in a buffer of rtnetlink's notifications, `numbers` being those of the links by name.

    A link concerns us when it is taken away or brought down, an address when it comes or goes. Malformed if lengths do
    not add up.
    """
    ours = [one for one in interests if one.link]
    for message in walk(buffer):
        if message.kind in (_NEW_LINK, _DELETE_LINK):
            name, is_up = _link(message)
            if message.kind == _DELETE_LINK or not is_up:
                yield from (Touch(one.family, message.port) for one in ours if one.link == name)
        elif message.kind in (_NEW_ADDRESS, _DELETE_ADDRESS):
            family, link, address = _address(message)
            gone = message.kind == _DELETE_ADDRESS
            for one in ours:
                if one.family is family and numbers.get(one.link) == link:
                    yield Touch(one.family, message.port, "", address, gone)


def _link(message: Message) -> tuple[str, bool]:
    if len(message.payload) < _LINK.size:
        raise Malformed(f"link message of {len(message.payload)} bytes")
    flags = _LINK.unpack_from(message.payload)[3]
    return string(read(message.payload[_LINK.size :]).get(_LINK_NAME, b"")), bool(flags & _UP)


def _address(message: Message) -> tuple[Family | None, int, str]:
    if len(message.payload) < _ADDRESS.size:
        raise Malformed(f"address message of {len(message.payload)} bytes")
    family, _, _, _, link = _ADDRESS.unpack_from(message.payload)
    found = read(message.payload[_ADDRESS.size :])
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if packed is None or len(packed) not in (4, 16):
        raise Malformed("address message without an address")
    return _FAMILIES.get(family), link, str(ipaddress.ip_address(packed))
