"""What a Document of this backend holds: ids by which objects are told apart, and their contents.

A virtual server is known by protocol, address and port, or by a firewall mark
alone. Everything is comparable and hashable, so that `diff` works on it.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from kproxy.core.chains import subject_of as chain_subject
from kproxy.core.document import ObjectId
from kproxy.core.values import Protocol, Value


class Server(NamedTuple):
    """A virtual server: by `mark` if that is not 0, else by protocol, address and port."""

    protocol: Protocol | None
    address: str
    port: int
    mark: int = 0

    def __str__(self) -> str:
        if self.protocol is None:
            return f"mark {self.mark:#x}"
        return f"{self.protocol.lower()} {place(self.address, self.port)}"


class Balance(Value, frozen=True):
    """How a virtual server chooses: its scheduler, and for how long a client is kept (0: not).

    `by_source`: mh by the client's address alone, which keeps a client too, without a time.
    """

    scheduler: str
    persistence_s: int = 0
    by_source: bool = False


class Real(NamedTuple):
    """A real server of a virtual server: an endpoint. Its content is its weight."""

    server: Server
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.server} -> {place(self.address, self.port)}"


class Drain(NamedTuple):
    """How long leaving endpoints of a virtual server may keep their connections; the content is in seconds."""

    server: Server

    def __str__(self) -> str:
        return f"drain {self.server}"


class Fallback(NamedTuple):
    """The id of the scheduler that stands in for one that the kernel lacks; the content is its name."""

    of: str = "scheduler"
    """An id without a field would be equal to any other without."""

    def __str__(self) -> str:
        return f"fallback {self.of}"


class Vip(NamedTuple):
    """An address of ours: on the dummy link (unless it is on another already) and in the set of VIPs."""

    address: str

    def __str__(self) -> str:
        return f"address {self.address}"


class Kind(enum.StrEnum):
    """The types of IP set that are used, as ipset calls them."""

    ADDRESS = "hash:ip"
    PLACE = "hash:ip,port"
    PLACE_AND_NETWORK = "hash:ip,port,net"
    PLACE_AND_ADDRESS = "hash:ip,port,ip"
    NETWORK_AND_PORT = "hash:net,port"


class SetId(NamedTuple):
    """An IP set, by its name; its content is a `Shape`."""

    name: str

    def __str__(self) -> str:
        return f"set {self.name}"


class Shape(Value, frozen=True):
    """The type of a set, and whether its members carry a mark."""

    kind: Kind
    marks: bool = False


class Member(NamedTuple):
    """A member of a set; `prefix` belongs to `address` (hash:net,port) or to `other` (hash:ip,port,net), else -1."""

    set: str
    protocol: Protocol
    address: str
    port: int
    other: str = ""
    prefix: int = -1

    def __str__(self) -> str:
        return f"{self.set} {member_text(self)}"


class Mark(NamedTuple):
    """What a member does to a packet's mark: the bits of `mask` become those of `value`; mask 0 leaves it alone."""

    value: int = 0
    mask: int = 0


class Timeouts(NamedTuple):
    """The id of the time-outs of IPVS connections; the content is (tcp, tcp fin, udp) in seconds."""


class Sysctl(NamedTuple):
    """A kernel parameter; the content is its value as text."""

    name: str

    def __str__(self) -> str:
        return f"sysctl {self.name}"


NO_MARK: Final = Mark()
WHOLE: Final = 0xFFFFFFFF


def place(address: str, port: int) -> str:
    """`10.0.0.1:80`, `[fd00::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def member_text(member: Member) -> str:
    """A member as ipset writes it."""
    first = f"{member.address}/{member.prefix}" if member.prefix >= 0 and not member.other else member.address
    text = f"{first},{member.protocol.lower()}:{member.port}"
    if not member.other:
        return text
    return f"{text},{member.other}/{member.prefix}" if member.prefix >= 0 else f"{text},{member.other}"


KINDS_OF_OBJECT: Final = {
    Server: "virtual server",
    Real: "real server",
    Vip: "address",
    SetId: "set",
    Member: "set member",
    Drain: "drain time",
    Fallback: "fallback",
    Sysctl: "kernel parameter",
    Timeouts: "connection timeout",
}


def subject_of(key: ObjectId) -> tuple[str, str]:
    """What kind of object an id stands for, and its name for people."""
    kind = KINDS_OF_OBJECT.get(type(key))
    return (kind, str(key).removeprefix(f"{kind} ")) if kind else chain_subject(key)
