"""The names, keys and hooks of our table in one place, for both families.

K is `ip daddr . meta l4proto . th dport`, N is `meta l4proto . th dport`: by K
or by N a frontend is found. What is keyed by N has the prefix `nodeport-`.
`standard_set` gives every set's properties from its name alone, so that a set
read back from the kernel is either exactly ours or not ours at all.
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Mapping
from typing import Final

from backends.nftables.expressions import Base, Expression, Meta, MetaKey, Numgen, Payload
from backends.nftables.objects import Field, Hook, Set
from kproxy.core.document import Owner
from kproxy.core.plan import Action
from kproxy.core.values import Family, Value

NODEPORT_PREFIX: Final = "nodeport-"

DISPATCH, NODEPORTS, EGRESS, UNALLOCATED = "dispatch", "nodeports", "egress", "unallocated"
PREROUTING, INPUT, OUTPUT, POSTROUTING = "prerouting", "input", "output", "postrouting"
CLUSTER_IPS, NODEPORT_IPS, HAIRPIN = "cluster-ips", "nodeport-ips", "hairpin"
SOURCE_RANGES, REFUSED_NODEPORTS = "source-ranges", "refused-nodeports"
STICKY = "sticky"

FRONTENDS: Final[Owner] = "frontends"
"""The owner of the shapes' chains and sets, and of the dispatch over them."""
POOLS: Final[Owner] = "pools"
"""The owner of the pool chains and maps."""
HAIRPINS: Final[Owner] = "hairpins"
SHARED_IPS: Final[Owner] = "shared-cluster-ips"
"""The owner of ClusterIPs that several Services claim."""

HOOKS: Final[Mapping[str, Hook]] = {
    PREROUTING: Hook("nat", PREROUTING, -100),
    OUTPUT: Hook("nat", OUTPUT, -100),
    # Behind all that others translate or refuse, and before their masquerading: the kernel runs no nat chain any more
    # once one has set up a translation of the source (nf_nat_inet_fn).
    UNALLOCATED: Hook("nat", POSTROUTING, 50),
    POSTROUTING: Hook("nat", POSTROUTING, 100),
    INPUT: Hook("filter", INPUT, 0),
}
HOOK_NUMBERS: Final[Mapping[str, int]] = {PREROUTING: 0, INPUT: 1, OUTPUT: 3, POSTROUTING: 4}

STICKY_SIZE: Final = 65535
"""How many clients one endpoint's affinity set remembers (kube-proxy: the same, by nft's default)."""

_TLV = struct.Struct("=BB")
_NUMBER = struct.Struct("=BBI")
_PAYLOAD, _META, _NUMGEN = 7, 9, 23
_TRANSPORT_HEADER, _TRANSPORT_DPORT = 11, 2
NUMGEN_TYPE_MODULUS: Final = 65536
"""Stands in the type of an index only, where nft wants an expression; rules use the pool's own size."""


def tlv(kind: int, payload: bytes) -> bytes:
    """A record of nft's user data: type, length, value."""
    return _TLV.pack(kind, len(payload)) + payload


def _number(kind: int, value: int) -> bytes:
    return _NUMBER.pack(kind, 4, value)


def origin(expression: int, *parts: bytes) -> bytes:
    """An expression as nft 1.0.6 keeps it in a set's user data: its number, then its own data."""
    return _number(0, expression) + tlv(1, b"".join(parts))


def _address(typeof: str, kind: str, number: int, length: int, header: int, field: int) -> Field:
    return Field(typeof, kind, number, length, origin(_PAYLOAD, _number(0, header), _number(1, field)))


L4PROTO: Final = Field("meta l4proto", "inet_proto", 12, 1, origin(_META, _number(0, MetaKey.L4PROTO)))
DPORT: Final = Field(
    "th dport", "inet_service", 13, 2, origin(_PAYLOAD, _number(0, _TRANSPORT_HEADER), _number(1, _TRANSPORT_DPORT))
)
INDEX: Final = Field(
    f"numgen random mod {NUMGEN_TYPE_MODULUS}",
    "integer",
    4,
    4,
    origin(_NUMGEN, _number(0, 1), _number(1, NUMGEN_TYPE_MODULUS), _number(2, 0)),
)


class Words(Value, frozen=True):
    """What differs between the families."""

    family: Family
    number: int
    """AF_INET or AF_INET6, which is NFPROTO_* too."""
    name: str
    """The family as nft writes it: `ip` or `ip6`."""
    saddr: Field
    daddr: Field
    saddr_offset: int
    daddr_offset: int
    unreachable: int
    """The code of `port unreachable` in the family's ICMP."""

    def pack(self, address: str) -> bytes:
        """The address as it stands in a header."""
        return socket.inet_pton(self.number, address)

    def key(self, *, node_port: bool) -> tuple[Field, ...]:
        """N or K."""
        return (L4PROTO, DPORT) if node_port else (self.daddr, L4PROTO, DPORT)


WORDS: Final[Mapping[Family, Words]] = {
    Family.IPV4: Words(
        Family.IPV4,
        socket.AF_INET,
        "ip",
        _address("ip saddr", "ipv4_addr", 7, 4, 12, 11),
        _address("ip daddr", "ipv4_addr", 7, 4, 12, 12),
        12,
        16,
        3,
    ),
    Family.IPV6: Words(
        Family.IPV6,
        socket.AF_INET6,
        "ip6",
        _address("ip6 saddr", "ipv6_addr", 8, 16, 13, 8),
        _address("ip6 daddr", "ipv6_addr", 8, 16, 13, 9),
        8,
        24,
        4,
    ),
}


def prefix(*, node_port: bool) -> str:
    """The prefix of names that are keyed by N."""
    return NODEPORT_PREFIX if node_port else ""


def pool_chain(action: Action, *, node_port: bool) -> str:
    """The chain that chooses an endpoint from a pool of any size: `cluster-pool`, `nodeport-local-pool`."""
    return f"{prefix(node_port=node_port)}{action}-pool"


def pool_map(action: Action, size: int, *, node_port: bool) -> str:
    """The map with the endpoints of all pools of one size: `cluster-pool-5`."""
    return f"{prefix(node_port=node_port)}{action}-pool-{size}"


def sticky_map(action: Action, *, node_port: bool) -> str:
    """The verdict map from frontends with affinity to the chain of their pool."""
    return f"{prefix(node_port=node_port)}{STICKY}-{action}"


@functools.lru_cache(maxsize=1024)
def standard_set(family: Family, name: str) -> Set | None:
    """The set of ours that has this name, None if none has. Affinity sets are given with a time-out of 1 s."""
    words = WORDS[family]
    if name.startswith(f"{STICKY}/"):
        return Set((words.saddr,), timeout_s=1)
    fixed = {
        CLUSTER_IPS: Set((words.daddr,)),
        NODEPORT_IPS: Set((words.daddr,)),
        HAIRPIN: Set((words.saddr, words.daddr)),
        REFUSED_NODEPORTS: Set(words.key(node_port=True)),
    }
    return fixed.get(name) or _keyed_set(words, name)


def _keyed_set(words: Words, name: str) -> Set | None:
    """The sets that exist for K and for N."""
    key = words.key(node_port=name.startswith(NODEPORT_PREFIX))
    bare = name.removeprefix(NODEPORT_PREFIX)
    if bare == SOURCE_RANGES:
        return Set((*key, words.saddr), interval=True)
    if bare in (f"{STICKY}-{Action.CLUSTER}", f"{STICKY}-{Action.LOCAL}"):
        return Set(key, verdict=True)
    if is_pool(name):
        return Set((*key, INDEX), data=(words.daddr, DPORT))
    if is_frontends(name):
        return Set(key)
    return None


def is_pool(name: str) -> bool:
    """Whether a name is that of a pool map (or chain)."""
    return name.removeprefix(NODEPORT_PREFIX).startswith((f"{Action.CLUSTER}-pool", f"{Action.LOCAL}-pool"))


def is_frontends(name: str) -> bool:
    """Whether a name is that of a shape's set (and chain)."""
    return name.removeprefix(NODEPORT_PREFIX).startswith(f"{FRONTENDS}/")


def load(words: Words, fields: tuple[Field, ...], modulus: int = 0) -> tuple[Expression, ...]:
    """Expressions that put the fields into the registers one after the other, from word 0; `modulus` is for INDEX."""
    expressions: list[Expression] = []
    word = 0
    for field in fields:
        if field is L4PROTO:
            expressions.append(Meta(MetaKey.L4PROTO, word))
        elif field is DPORT:
            expressions.append(Payload(Base.TRANSPORT, 2, 2, word))
        elif field is INDEX:
            expressions.append(Numgen(modulus, word))
        else:
            offset = words.saddr_offset if field is words.saddr else words.daddr_offset
            expressions.append(Payload(Base.NETWORK, offset, field.length, word))
        word += (field.length + 3) // 4
    return tuple(expressions)
