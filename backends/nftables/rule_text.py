"""Rules as nft writes them.

A rule's expressions are walked with registers that hold text instead of bytes.
An expression that is not ours becomes `[name hex]`: printing never fails, and
nft would refuse it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

from backends.nftables import expressions as ex
from backends.nftables.expressions import Code, MetaKey, Op
from backends.nftables.layout import DPORT, L4PROTO, WORDS, Words
from backends.nftables.objects import Field, Rule
from backends.nftables.text import value_text
from kproxy.core.values import Family, Value

STATES: Final = {1: "invalid", 8: "new", 64: "untracked", 2: "established", 4: "related"}
STATUSES: Final = {0x20: "dnat"}
CODES: Final = {Code.DROP: "drop", Code.ACCEPT: "accept", Code.RETURN: "return"}
META_NAMES: Final = {
    MetaKey.MARK: "meta mark",
    MetaKey.IIFNAME: "iifname",
    MetaKey.OIFNAME: "oifname",
    MetaKey.L4PROTO: L4PROTO.typeof,
}
INTERFACE_NAME_BYTES: Final = 16
RTN_LOCAL: Final = 2


class Term(Value, frozen=True):
    """What a register holds: nft's text for it, its type, and the mask or the constant in it."""

    text: str
    field: Field | None = None
    mask: bytes = b""
    constant: bytes = b""


class Walk:
    """One rule's walk: the family's words and the registers."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.registers: dict[int, Term] = {}

    def term(self, word: int) -> Term:
        """What stands in a register."""
        return self.registers.get(word, Term(f"[register {word}]"))

    def key(self, word: int) -> str:
        """The concatenation that begins at a word; a match that follows loads anew, so the registers are cleared."""
        parts = []
        while word in self.registers:
            term = self.registers[word]
            parts.append(term.text)
            word += (term.field.length + 3) // 4 if term.field else 1
        self.registers.clear()
        return " . ".join(parts)


def rule_text(family: Family, rule: Rule) -> str:
    """A rule as nft writes it."""
    walk = Walk(WORDS[family])
    texts = [VERBS[type(expression)](walk, expression) for expression in rule]
    return " ".join(text for text in texts if text)


def _payload(walk: Walk, e: ex.Payload) -> str:
    words = walk.words
    field = words.saddr if e.offset == words.saddr_offset else words.daddr
    field = DPORT if e.base is ex.Base.TRANSPORT else field
    mask = b"\xff" * e.length if e.length < field.length else b""
    walk.registers[e.word] = Term(field.typeof, field, mask)
    return ""


def _meta(walk: Walk, e: ex.Meta) -> str:
    walk.registers[e.word] = Term(META_NAMES[e.key], L4PROTO if e.key is MetaKey.L4PROTO else None)
    return ""


def _ct(walk: Walk, e: ex.Ct) -> str:
    walk.registers[e.word] = Term(f"ct {e.key.name.lower()}")
    return ""


def _fib(walk: Walk, e: ex.Fib) -> str:
    walk.registers[e.word] = Term(f"fib {'saddr' if e.of_source else 'daddr'} type")
    return ""


def _numgen(walk: Walk, e: ex.Numgen) -> str:
    walk.registers[e.word] = Term(f"numgen random mod {e.modulus}")
    return ""


def _immediate(walk: Walk, e: ex.Immediate) -> str:
    walk.registers[e.word] = Term(e.data.hex(), constant=e.data)
    return ""


def _bitwise(walk: Walk, e: ex.Bitwise) -> str:
    term = walk.term(e.word)
    if term.text == "meta mark":
        xor = _host(e.xor)
        text = f"meta mark | {xor:#010x}" if xor else f"meta mark & {_host(e.mask):#010x}"
        walk.registers[e.word] = Term(text)
    else:
        walk.registers[e.word] = Term(term.text, term.field, e.mask)
    return ""


def _compare(walk: Walk, e: ex.Compare) -> str:
    term = walk.term(e.word)
    walk.registers.clear()
    sign = "!= " if e.op is Op.NOT_EQUAL else ""
    if term.field is not None:
        text = value_text(term.field, e.data.ljust(term.field.length, b"\0"))
        length = f"/{int.from_bytes(term.mask, 'big').bit_count()}" if term.mask else ""
        return f"{term.text} {sign}{text}{length}"
    if term.text.startswith("ct "):
        names = STATES if term.text == "ct state" else STATUSES
        none = "! " if e.op is Op.EQUAL else ""
        return f"{term.text} {none}{','.join(name for bit, name in names.items() if _host(term.mask) & bit)}"
    return f"{term.text} {sign}{_plain_value(term.text, e.data)}"


def _plain_value(text: str, data: bytes) -> str:
    if text in ("iifname", "oifname"):
        name = data.rstrip(b"\0").decode(errors="replace")
        return f'"{name}"' if len(data) == INTERFACE_NAME_BYTES else f'"{name}*"'
    if text.startswith("meta mark"):
        return f"== {_host(data):#010x}"
    return "local" if text.startswith("fib") and _host(data) == RTN_LOCAL else str(_host(data))


def _host(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def _lookup(walk: Walk, e: ex.Lookup) -> str:
    key = walk.key(e.word)
    if e.into is None:
        return f"{key} {'!= ' if e.inverted else ''}@{e.set}"
    if e.into == ex.VERDICT_WORD:
        return f"{key} vmap @{e.set}"
    walk.registers[e.into] = Term(f"{key} map @{e.set}")
    return ""


def _set_meta(walk: Walk, e: ex.SetMeta) -> str:
    return f"meta mark set {walk.key(e.word)}"


def _update(walk: Walk, e: ex.Update) -> str:
    return f"update @{e.set} {{ {walk.key(e.word)} }}"


def _dnat(walk: Walk, e: ex.Dnat) -> str:
    target, port = walk.term(e.address_word), walk.registers.get(e.port_word)
    if port is None or not target.constant:
        return f"dnat {walk.words.name} to {target.text}"
    address = value_text(walk.words.daddr, target.constant)
    if walk.words.family is Family.IPV6:
        address = f"[{address}]"
    return f"dnat {walk.words.name} to {address}:{value_text(DPORT, port.constant)}"


VERBS: Final[Mapping[type, Callable[..., str]]] = {
    ex.Payload: _payload,
    ex.Meta: _meta,
    ex.SetMeta: _set_meta,
    ex.Ct: _ct,
    ex.Fib: _fib,
    ex.Compare: _compare,
    ex.Bitwise: _bitwise,
    ex.Byteorder: lambda _, __: "",
    ex.Lookup: _lookup,
    ex.Numgen: _numgen,
    ex.Immediate: _immediate,
    ex.Jump: lambda _, e: CODES.get(e.code) or f"{e.code.name.lower()} {e.chain}",
    ex.Dnat: _dnat,
    ex.Masquerade: lambda _, __: "masquerade fully-random",
    ex.Reject: lambda _, __: "reject",
    ex.Update: _update,
    ex.Opaque: lambda _, e: f"[{e.name} {e.attributes.hex()}]",
}
