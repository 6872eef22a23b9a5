"""Expressions as the kernel's attributes, and back.

`decode` is strict: if an attribute that we send differs in what was read, the
expression is `Opaque` and equals nothing of ours, so a rule that was tampered
with is noticed.

Source: include/uapi/linux/netfilter/nf_tables.h and net/netfilter/nft_*.c (6.1 to 6.18).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from backends.nftables.expressions import (
    VERDICT_WORD,
    Base,
    Bitwise,
    Byteorder,
    Code,
    Compare,
    Ct,
    CtKey,
    Dnat,
    Expression,
    Fib,
    Immediate,
    Jump,
    Lookup,
    Masquerade,
    Meta,
    MetaKey,
    Numgen,
    Op,
    Opaque,
    Payload,
    Reject,
    SetMeta,
    Update,
)
from kproxy.netlink.attributes import attribute, nested, number, read, string, text, u8, u32, walk

Attributes: TypeAlias = Mapping[int, bytes]

NFTA_LIST_ELEM = 1
NFTA_EXPR_NAME, NFTA_EXPR_DATA = 1, 2
NFTA_DATA_VALUE, NFTA_DATA_VERDICT = 1, 2
NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN = 1, 2
FIB_ADDRESS_TYPE, FIB_SOURCE, FIB_DESTINATION = 3, 1, 2
NAT_DESTINATION, NAT_MAP_IPS_AND_PROTO, NAT_FULLY_RANDOM = 1, 0x3, 0x10
HTON: Final = 1
SET_UPDATE, LOOKUP_INVERTED, NUMGEN_RANDOM = 1, 1, 1


def register(word: int) -> int:
    """The kernel's number of the register that begins at a word: NFT_REG_n where it can, else NFT_REG32_n."""
    return 1 + word // 4 if word % 4 == 0 else 8 + word


def word_of(payload: bytes) -> int:
    """The word that a register number names."""
    value = number(payload)
    return value - 8 if value >= 8 else 4 * (value - 1)  # noqa: PLR2004 - NFT_REG32_00


def value_data(data: bytes) -> bytes:
    """The inside of a data attribute that holds bytes."""
    return attribute(NFTA_DATA_VALUE, data)


def verdict_data(code: Code, chain: str) -> bytes:
    """The inside of a data attribute that holds a verdict; no NESTED flags, for the kernel sends none back."""
    parts = u32(NFTA_VERDICT_CODE, code.value & 0xFFFFFFFF)
    return attribute(NFTA_DATA_VERDICT, parts + text(NFTA_VERDICT_CHAIN, chain) if chain else parts)


def read_value(payload: bytes) -> bytes:
    """The bytes in a data attribute; KeyError if it holds none."""
    return read(payload)[NFTA_DATA_VALUE]


def read_verdict(payload: bytes) -> Jump:
    """The verdict in a data attribute; KeyError or ValueError if it holds none of ours."""
    inner = read(read(payload)[NFTA_DATA_VERDICT])
    code = Code(int.from_bytes(inner[NFTA_VERDICT_CODE], "big", signed=True))
    return Jump(code, string(inner.get(NFTA_VERDICT_CHAIN, b"")))


def _reg(kind: int, word: int) -> bytes:
    return u32(kind, register(word))


Encoder: TypeAlias = Callable[..., tuple[str, bytes]]

ENCODERS: Final[Mapping[type, Encoder]] = {
    Payload: lambda e: ("payload", _reg(1, e.word) + u32(2, e.base) + u32(3, e.offset) + u32(4, e.length)),
    Meta: lambda e: ("meta", u32(2, e.key) + _reg(1, e.word)),
    SetMeta: lambda e: ("meta", u32(2, e.key) + _reg(3, e.word)),
    Ct: lambda e: ("ct", u32(2, e.key) + _reg(1, e.word)),
    Fib: lambda e: (
        "fib",
        _reg(1, e.word) + u32(2, FIB_ADDRESS_TYPE) + u32(3, FIB_SOURCE if e.of_source else FIB_DESTINATION),
    ),
    Compare: lambda e: ("cmp", _reg(1, e.word) + u32(2, e.op) + nested(3, value_data(e.data))),
    Bitwise: lambda e: (
        "bitwise",
        _reg(1, e.word)
        + _reg(2, e.word)
        + u32(3, len(e.mask))
        + nested(4, value_data(e.mask))
        + nested(5, value_data(e.xor)),
    ),
    Byteorder: lambda e: ("byteorder", _reg(1, e.word) + _reg(2, e.word) + u32(3, HTON) + u32(4, 1) + u32(5, 2)),
    Lookup: lambda e: (
        "lookup",
        text(1, e.set)
        + _reg(2, e.word)
        + (b"" if e.into is None else _reg(3, e.into))
        + u32(5, LOOKUP_INVERTED if e.inverted else 0),
    ),
    Numgen: lambda e: ("numgen", _reg(1, e.word) + u32(2, e.modulus) + u32(3, NUMGEN_RANDOM) + u32(4, 0)),
    Immediate: lambda e: ("immediate", _reg(1, e.word) + nested(2, value_data(e.data))),
    Jump: lambda e: ("immediate", _reg(1, VERDICT_WORD) + nested(2, verdict_data(e.code, e.chain))),
    Dnat: lambda e: (
        "nat",
        u32(1, NAT_DESTINATION)
        + u32(2, e.family)
        + _reg(3, e.address_word)
        + _reg(5, e.port_word)
        + u32(7, NAT_MAP_IPS_AND_PROTO),
    ),
    Masquerade: lambda _: ("masq", u32(1, NAT_FULLY_RANDOM)),
    Reject: lambda e: ("reject", u32(1, 0) + u8(2, e.code)),
    Update: lambda e: ("dynset", text(1, e.set) + u32(3, SET_UPDATE) + _reg(4, e.word)),
    Opaque: lambda e: (e.name, e.attributes),
}


def encode(expression: Expression) -> bytes:
    """The expression as an NFTA_LIST_ELEM attribute."""
    name, attributes = ENCODERS[type(expression)](expression)
    return nested(NFTA_LIST_ELEM, text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, attributes))


def encode_rule(rule: tuple[Expression, ...]) -> bytes:
    """The inside of NFTA_RULE_EXPRESSIONS."""
    return b"".join(map(encode, rule))


THIRD: Final = 3
"""NFTA_META_SREG and NFTA_LOOKUP_DREG: given or not, they make another expression."""


def _immediate(a: Attributes) -> Expression:
    if word_of(a[1]) == VERDICT_WORD:
        return read_verdict(a[2])
    return Immediate(word_of(a[1]), read_value(a[2]))


def _meta(a: Attributes) -> Expression:
    key = MetaKey(number(a[2]))
    return SetMeta(key, word_of(a[THIRD])) if THIRD in a else Meta(key, word_of(a[1]))


DECODERS: Final[Mapping[str, Callable[[Attributes], Expression]]] = {
    "payload": lambda a: Payload(Base(number(a[2])), number(a[3]), number(a[4]), word_of(a[1])),
    "meta": _meta,
    "ct": lambda a: Ct(CtKey(number(a[2])), word_of(a[1])),
    "fib": lambda a: Fib(number(a[3]) == FIB_SOURCE, word_of(a[1])),
    "cmp": lambda a: Compare(word_of(a[1]), Op(number(a[2])), read_value(a[3])),
    "bitwise": lambda a: Bitwise(word_of(a[1]), read_value(a[4]), read_value(a[5])),
    "byteorder": lambda a: Byteorder(word_of(a[2])),
    "lookup": lambda a: Lookup(
        string(a[1]), word_of(a[2]), word_of(a[THIRD]) if THIRD in a else None, number(a.get(5, b"")) == LOOKUP_INVERTED
    ),
    "numgen": lambda a: Numgen(number(a[2]), word_of(a[1])),
    "immediate": _immediate,
    "nat": lambda a: Dnat(number(a[2]), word_of(a[3]), word_of(a[5])),
    "masq": lambda _: Masquerade(),
    "reject": lambda a: Reject(number(a.get(2, b""))),
    "dynset": lambda a: Update(string(a[1]), word_of(a[4])),
}


def decode(attributes: bytes) -> Expression:
    """The expression in the inside of an NFTA_LIST_ELEM attribute; Opaque if it is none of ours."""
    outer = read(attributes)
    name, inside = string(outer.get(NFTA_EXPR_NAME, b"")), outer.get(NFTA_EXPR_DATA, b"")
    found = read(inside)
    try:
        expression = DECODERS[name](found)
    except (KeyError, ValueError):
        return Opaque(name, inside)
    sent = read(ENCODERS[type(expression)](expression)[1])
    return expression if sent.items() <= found.items() else Opaque(name, inside)


def decode_rule(attributes: bytes) -> tuple[Expression, ...]:
    """A rule from the inside of NFTA_RULE_EXPRESSIONS."""
    return tuple(decode(payload) for _, payload in walk(attributes))
