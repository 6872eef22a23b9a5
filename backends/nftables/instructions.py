"""What each expression does to a packet's registers and facts: the kernel's nft_*_eval, one small function each.

Sources: net/netfilter/nft_payload.c, nft_meta.c, nft_ct.c, nft_fib.c, nft_cmp.c, nft_bitwise.c, nft_lookup.c,
nft_nat.c, nft_masq.c, nft_reject.c, nft_dynset.c (6.18).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final, Protocol, TypeAlias

import msgspec

from backends.nftables import expressions as ex
from backends.nftables.expressions import Base, Code, CtKey, MetaKey, Op
from backends.nftables.layout import DPORT, Words
from backends.nftables.objects import Element
from backends.nftables.rules import CT_NEW, INTERFACE_NAME_LENGTH, IPS_DST_NAT, RTN_LOCAL, host32
from backends.nftables.text import value_text
from kproxy.core.flow import Packet, Step, Verdict
from kproxy.core.host import Host
from kproxy.core.node_facts import is_local
from kproxy.core.values import Value

RTN_UNICAST: Final = 1
CERTAIN: Final = Fraction(1)


class Facts(Value, frozen=True):
    """The packet, and what the rules did to it so far."""

    packet: Packet
    mark: int = 0
    is_translated: bool = False
    is_masqueraded: bool = False
    steps: tuple[Step, ...] = ()


class End(Value, frozen=True):
    """How a walk ended. The verdict is DNAT, DROP, REJECT, PASS for accept, None if no rule decided."""

    probability: Fraction
    verdict: Verdict | None
    facts: Facts


class Outcome(Value, frozen=True):
    """What one rule did; `verdict` None: go on with the next rule."""

    probability: Fraction
    verdict: ex.Jump | Verdict | None
    facts: Facts


Registers: TypeAlias = dict[int, bytes | int]
"""By word: bytes, or the modulus of a random number that nothing has asked for yet."""
Result: TypeAlias = Facts | Outcome | None
"""An expression's result: go on with these facts, the rule's outcome, or the rule does not match."""


class Tables(Protocol):
    """What an expression may ask of the machine that runs it."""

    @property
    def words(self) -> Words:
        """The family's words."""

    @property
    def host(self) -> Host:
        """The machine's addresses."""

    def key(self, name: str, word: int, registers: Registers) -> bytes:
        """As many bytes from a word on as the set's key has."""

    def find(self, name: str, key: bytes) -> Element | None:
        """The element of a set that holds the key."""

    def element_step(self, name: str, key: bytes, element: Element) -> Step:
        """A step that shows a found element."""


def _bytes(registers: Registers, word: int) -> bytes:
    value = registers.get(word, b"")
    return value if isinstance(value, bytes) else b""


def _payload(tables: Tables, e: ex.Payload, registers: Registers, facts: Facts) -> Result:
    packet, words = facts.packet, tables.words
    if e.base is Base.TRANSPORT:
        found = packet.port.to_bytes(2, "big") if e.offset == 2 else b""  # noqa: PLR2004 - the destination port
    else:
        addresses = {words.saddr_offset: packet.source, words.daddr_offset: packet.destination}
        found = words.pack(addresses[e.offset]) if e.offset in addresses else b""
    if len(found) < e.length:
        return None
    registers[e.word] = found[: e.length]
    return facts


def _meta(_: Tables, e: ex.Meta, registers: Registers, facts: Facts) -> Result:
    values = {
        MetaKey.MARK: host32(facts.mark),
        MetaKey.L4PROTO: bytes([facts.packet.protocol.number]),
        # Where a packet will leave is the routing table's business: taken as no interface that is asked for.
        MetaKey.OIFNAME: bytes(INTERFACE_NAME_LENGTH),
        MetaKey.IIFNAME: (facts.packet.interface or "").encode().ljust(INTERFACE_NAME_LENGTH, b"\0"),
    }
    registers[e.word] = values[e.key]
    return facts


def _set_meta(_: Tables, e: ex.SetMeta, registers: Registers, facts: Facts) -> Result:
    if e.key is not MetaKey.MARK:
        return facts
    return msgspec.structs.replace(facts, mark=int.from_bytes(_bytes(registers, e.word), sys.byteorder))


def _ct(_: Tables, e: ex.Ct, registers: Registers, facts: Facts) -> Result:
    registers[e.word] = host32(CT_NEW if e.key is CtKey.STATE else IPS_DST_NAT if facts.is_translated else 0)
    return facts


def _fib(tables: Tables, e: ex.Fib, registers: Registers, facts: Facts) -> Result:
    address = facts.packet.source if e.of_source else facts.packet.destination
    registers[e.word] = host32(RTN_LOCAL if is_local(address, tables.host) else RTN_UNICAST)
    return facts


def _compare(_: Tables, e: ex.Compare, registers: Registers, facts: Facts) -> Result:
    equal = _bytes(registers, e.word)[: len(e.data)] == e.data
    return facts if equal is (e.op is Op.EQUAL) else None


def _bitwise(_: Tables, e: ex.Bitwise, registers: Registers, facts: Facts) -> Result:
    value = zip(_bytes(registers, e.word), e.mask, e.xor, strict=False)
    registers[e.word] = bytes(byte & mask ^ xor for byte, mask, xor in value)
    return facts


def _lookup(tables: Tables, e: ex.Lookup, registers: Registers, facts: Facts) -> Result:
    key = tables.key(e.set, e.word, registers)
    element = tables.find(e.set, key)
    if (element is None) is not e.inverted:
        return None
    if element is None:
        return facts
    if element.comment:
        facts = msgspec.structs.replace(facts, steps=(*facts.steps, tables.element_step(e.set, key, element)))
    if e.into == ex.VERDICT_WORD:
        return Outcome(CERTAIN, ex.Jump(Code.GOTO, element.data.decode()), facts)
    if e.into is not None:
        length = tables.words.daddr.length
        registers[e.into] = element.data[:length]
        registers[e.into + length // 4] = element.data[length : length + DPORT.length]
    return facts


def _numgen(_: Tables, e: ex.Numgen, registers: Registers, facts: Facts) -> Result:
    registers[e.word] = e.modulus
    return facts


def _immediate(_: Tables, e: ex.Immediate, registers: Registers, facts: Facts) -> Result:
    registers[e.word] = e.data
    return facts


def _jump(_: Tables, e: ex.Jump, __: Registers, facts: Facts) -> Result:
    return Outcome(CERTAIN, e, facts)


def _dnat(tables: Tables, e: ex.Dnat, registers: Registers, facts: Facts) -> Result:
    address = value_text(tables.words.daddr, _bytes(registers, e.address_word))
    port = int.from_bytes(_bytes(registers, e.port_word)[:2], "big")
    before = facts.packet
    packet = Packet(before.source, address, port, before.protocol, before.interface)
    return Outcome(CERTAIN, Verdict.DNAT, msgspec.structs.replace(facts, packet=packet, is_translated=True))


def _masquerade(_: Tables, __: ex.Masquerade, ___: Registers, facts: Facts) -> Result:
    return Outcome(CERTAIN, Verdict.PASS, msgspec.structs.replace(facts, is_masqueraded=True))


def _reject(_: Tables, __: ex.Reject, ___: Registers, facts: Facts) -> Result:
    return Outcome(CERTAIN, Verdict.REJECT, facts)


def _nothing(_: Tables, __: ex.Expression, ___: Registers, facts: Facts) -> Result:
    return facts


def _no_match(_: Tables, __: ex.Opaque, ___: Registers, ____: Facts) -> Result:
    return None


RUN: Final[Mapping[type, Callable[..., Result]]] = {
    ex.Payload: _payload,
    ex.Meta: _meta,
    ex.SetMeta: _set_meta,
    ex.Ct: _ct,
    ex.Fib: _fib,
    ex.Compare: _compare,
    ex.Bitwise: _bitwise,
    ex.Byteorder: _nothing,
    ex.Lookup: _lookup,
    ex.Numgen: _numgen,
    ex.Immediate: _immediate,
    ex.Jump: _jump,
    ex.Dnat: _dnat,
    ex.Masquerade: _masquerade,
    ex.Reject: _reject,
    ex.Update: _nothing,
    ex.Opaque: _no_match,
}
