"""The words every layer shares: families, protocols, addresses and networks.

Addresses travel as canonical text (as `ipaddress` prints them), because that
is what rules, logs and people need; networks as `ipaddress` values, because
they are few and are asked whether they contain something.

`Value` is the base of every frozen record: compared by content, no instance
dictionary, left out of the cyclic garbage collector (a record never points back).
"""

from __future__ import annotations

import enum
import functools
import ipaddress
from typing import NamedTuple

import msgspec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Value(msgspec.Struct, frozen=True, gc=False):
    """A frozen record; see the module's text for why it is a msgspec Struct."""


class Family(enum.IntEnum):
    """An IP family; the value is the IP version."""

    IPV4 = 4
    IPV6 = 6

    @property
    def label(self) -> str:
        """`IPv4` or `IPv6`, as the Kubernetes API spells it."""
        return f"IPv{self.value}"

    @property
    def address_bits(self) -> int:
        """32 or 128."""
        return 32 if self is Family.IPV4 else 128


class Protocol(enum.StrEnum):
    """A Service port's protocol, as the Kubernetes API spells it."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    @property
    def number(self) -> int:
        """The protocol number in an IP header (IANA)."""
        return PROTOCOL_NUMBERS[self]


PROTOCOL_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}


class ObjectKey(NamedTuple):
    """Namespace and name of a Kubernetes object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def family_of(address: str) -> Family:
    """The family of an address in canonical text."""
    return Family.IPV6 if ":" in address else Family.IPV4


@functools.lru_cache(maxsize=65536)
def canonical_address(text: str) -> str:
    """The canonical text of an IPv4 or IPv6 address; ValueError if it is none, or has a zone index."""
    address = ipaddress.ip_address(text)
    if "%" in text:
        message = f"{text!r} has a zone index"
        raise ValueError(message)
    return str(address)


def address_number(address: str) -> int:
    """The address, canonical text, as an integer, for prefix trees and comparisons."""
    if ":" in address:
        return _ipv6_number(address)
    first, second, third, fourth = address.split(".")  # four times as fast as ipaddress, and asked for each endpoint
    return int(first) << 24 | int(second) << 16 | int(third) << 8 | int(fourth)


@functools.lru_cache(maxsize=65536)
def _ipv6_number(address: str) -> int:
    return int(ipaddress.IPv6Address(address))


def network_contains(network: Network, address: str) -> bool:
    """Whether the address lies in the network; never across families."""
    return (
        network.version == family_of(address).value
        and (address_number(address) ^ int(network.network_address)) >> (network.max_prefixlen - network.prefixlen) == 0
    )
