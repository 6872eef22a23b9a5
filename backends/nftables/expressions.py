"""The expressions that nftables rules are made of, as values.

The kernel runs a rule's expressions in order over sixteen registers of four
bytes ("words"); each value here is one expression, so a rule can be sent, read
back, printed and traced from the same value.

Source: include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from kproxy.core.values import Value


class Base(enum.IntEnum):
    """NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER."""

    NETWORK = 1
    TRANSPORT = 2


class MetaKey(enum.IntEnum):
    """enum nft_meta_keys."""

    MARK = 3
    IIFNAME = 6
    OIFNAME = 7
    L4PROTO = 16


class CtKey(enum.IntEnum):
    """enum nft_ct_keys."""

    STATE = 0
    STATUS = 2


class Op(enum.IntEnum):
    """enum nft_cmp_ops."""

    EQUAL = 0
    NOT_EQUAL = 1


class Code(enum.IntEnum):
    """Verdicts: NF_* and enum nft_verdicts."""

    DROP = 0
    ACCEPT = 1
    JUMP = -3
    GOTO = -4
    RETURN = -5


VERDICT_WORD: Final = -4
"""The verdict register, NFT_REG_VERDICT, as a word."""


class Payload(Value, frozen=True):
    """Loads bytes of a header."""

    base: Base
    offset: int
    length: int
    word: int


class Meta(Value, frozen=True):
    """Loads a fact about the packet."""

    key: MetaKey
    word: int


class SetMeta(Value, frozen=True):
    """Writes a fact about the packet; only the mark is ever written."""

    key: MetaKey
    word: int


class Ct(Value, frozen=True):
    """Loads a fact about the connection."""

    key: CtKey
    word: int


class Fib(Value, frozen=True):
    """Loads the type of an address by the routing table; `of_source` or of the destination."""

    of_source: bool
    word: int


class Compare(Value, frozen=True):
    """Goes on with the rule if the register holds (or does not hold) these bytes."""

    word: int
    op: Op
    data: bytes


class Bitwise(Value, frozen=True):
    """word = (word & mask) ^ xor."""

    word: int
    mask: bytes
    xor: bytes


class Byteorder(Value, frozen=True):
    """nft 1.0.6 puts one behind a one-byte field in the key of an interval set; the kernel does nothing for it."""

    word: int


class Lookup(Value, frozen=True):
    """Looks a key up: a match (`into` None), or data, or a verdict (`into` is VERDICT_WORD) of a map."""

    set: str
    word: int
    into: int | None = None
    inverted: bool = False


class Numgen(Value, frozen=True):
    """A random number below the modulus."""

    modulus: int
    word: int


class Immediate(Value, frozen=True):
    """Puts constant bytes into a register."""

    word: int
    data: bytes


class Jump(Value, frozen=True):
    """A verdict; `chain` for JUMP and GOTO."""

    code: Code
    chain: str = ""


class Dnat(Value, frozen=True):
    """Rewrites the destination from two registers. `family` is AF_INET or AF_INET6."""

    family: int
    address_word: int
    port_word: int


class Masquerade(Value, frozen=True):
    """Rewrites the source to the address of the way out, to a port taken at random."""


class Reject(Value, frozen=True):
    """Answers with ICMP destination unreachable, `code` as in the family's ICMP."""

    code: int


class Update(Value, frozen=True):
    """Adds the key to a dynamic set, or renews its time."""

    set: str
    word: int


class Opaque(Value, frozen=True):
    """An expression that is not ours."""

    name: str
    attributes: bytes


Expression: TypeAlias = (
    Payload
    | Meta
    | SetMeta
    | Ct
    | Fib
    | Compare
    | Bitwise
    | Byteorder
    | Lookup
    | Numgen
    | Immediate
    | Jump
    | Dnat
    | Masquerade
    | Reject
    | Update
    | Opaque
)
