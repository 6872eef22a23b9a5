"""How IPVS's generic netlink names a virtual server (include/uapi/linux/ip_vs.h, IPVS_SVC_ATTR_*). No socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

from kproxy.core.values import PROTOCOL_NUMBERS, Family, Protocol, family_of
from kproxy.netlink.attributes import attribute, nested, u16
from kproxy.netlink.generic import generic, host_u16, host_u32

FAMILY_NAME: Final = "IPVS"
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE = 1, 2, 3, 4
ADDRESS_FAMILY, PROTOCOL, ADDRESS, PORT, MARK, SCHEDULER, FLAGS, TIMEOUT, NETMASK = range(1, 10)
SERVICE: Final = 1
"""IPVS_CMD_ATTR_SERVICE: the attribute that all of these are in."""

NUMBERS: Final[Mapping[Family, int]] = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


def packed(address: str) -> bytes:
    """An address in the 16 bytes of `union nf_inet_addr`."""
    return socket.inet_pton(NUMBERS[family_of(address)], address).ljust(16, b"\0")


def by_address(protocol: Protocol, address: str, port: int) -> bytes:
    """The attributes that name a virtual server with an address."""
    return (
        host_u16(ADDRESS_FAMILY, NUMBERS[family_of(address)])
        + host_u16(PROTOCOL, PROTOCOL_NUMBERS[protocol])
        + attribute(ADDRESS, packed(address))
        + u16(PORT, port)
    )


def by_mark(mark: int, family: Family) -> bytes:
    """The attributes that name a virtual server known by a firewall mark."""
    return host_u16(ADDRESS_FAMILY, NUMBERS[family]) + host_u32(MARK, mark)


def delete_server(protocol: Protocol, address: str, port: int) -> bytes:
    """The payload that removes a virtual server with its real servers; ENOENT, ESRCH: there is none."""
    return generic(DEL_SERVICE, nested(SERVICE, by_address(protocol, address, port)))
