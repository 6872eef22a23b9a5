"""The words that our rules are composed of, as nft itself compiles them.

Each function gives the expressions of one statement or match, byte for byte
those that `nft -f` makes of the same text, so that both ways of loading give
the same table. Every match starts at word 0 again.
"""

from __future__ import annotations

import sys

from backends.nftables import expressions as ex
from backends.nftables.expressions import Base, Code, Expression, Op
from backends.nftables.layout import Words, load
from backends.nftables.objects import Field, Rule
from kproxy.core.values import Network, Protocol

RTN_LOCAL = 2
IPS_DST_NAT = 0x20
CT_INVALID, CT_NEW, CT_UNTRACKED = 1, 8, 64
INTERFACE_NAME_LENGTH = 16
CONSTANT_PORT_WORD = 4
"""Where nft puts a constant port: the second of the wide registers."""


def host32(value: int) -> bytes:
    """A number as a register holds it."""
    return value.to_bytes(4, sys.byteorder)


def in_network(words: Words, field: Field, network: Network, *, inverted: bool = False) -> Rule:
    """`ip saddr 10.0.0.0/8`, or `!=`."""
    offset = words.saddr_offset if field is words.saddr else words.daddr_offset
    packed, size = network.network_address.packed, network.prefixlen
    op = Op.NOT_EQUAL if inverted else Op.EQUAL
    if size and size % 8 == 0:
        return (ex.Payload(Base.NETWORK, offset, size // 8, 0), ex.Compare(0, op, packed[: size // 8]))
    mask = network.netmask.packed
    return (
        ex.Payload(Base.NETWORK, offset, len(packed), 0),
        ex.Bitwise(0, mask, bytes(len(mask))),
        ex.Compare(0, op, packed),
    )


def from_interface(name: str) -> Rule:
    """`iifname "cni0"`; a `+` at the end stands for any ending."""
    return _interface(ex.MetaKey.IIFNAME, name)


def to_interface(name: str) -> Rule:
    """`oifname "cni0"`."""
    return _interface(ex.MetaKey.OIFNAME, name)


def _interface(key: ex.MetaKey, name: str) -> Rule:
    data = name[:-1].encode() if name.endswith("+") else name.encode().ljust(INTERFACE_NAME_LENGTH, b"\0")
    return (ex.Meta(key, 0), ex.Compare(0, Op.EQUAL, data))


def is_local(*, source: bool, inverted: bool = False) -> Rule:
    """`fib saddr type local` or `fib daddr type local`, or `!= local`."""
    return (ex.Fib(source, 0), ex.Compare(0, Op.NOT_EQUAL if inverted else Op.EQUAL, host32(RTN_LOCAL)))


def in_set(words: Words, fields: tuple[Field, ...], name: str) -> Rule:
    """`ip daddr . th dport @name`."""
    return (*load(words, fields), ex.Lookup(name, 0))


def outside_ranges(words: Words, fields: tuple[Field, ...], name: str) -> Rule:
    """`… != @name` for an interval set."""
    loaded: list[Expression] = []
    for expression in load(words, fields):
        loaded += [expression, ex.Byteorder(expression.word)] if isinstance(expression, ex.Meta) else [expression]
    return (*loaded, ex.Lookup(name, 0, None, inverted=True))


def by_map(words: Words, fields: tuple[Field, ...], name: str) -> Rule:
    """`… vmap @name`."""
    return (*load(words, fields), ex.Lookup(name, 0, ex.VERDICT_WORD))


def of_protocol(protocol: Protocol) -> Rule:
    """`meta l4proto tcp`."""
    return (ex.Meta(ex.MetaKey.L4PROTO, 0), ex.Compare(0, Op.EQUAL, bytes([protocol.number])))


def one_in(count: int) -> Rule:
    """`numgen random mod 3 0`."""
    return (ex.Numgen(count, 0), ex.Compare(0, Op.EQUAL, host32(0)))


def ct_state(*states: int) -> Rule:
    """`ct state new,invalid`."""
    return _any_bit(ex.Ct(ex.CtKey.STATE, 0), sum(states))


def ct_status(status: int, *, inverted: bool = False) -> Rule:
    """`ct status dnat`, or `ct status ! dnat`."""
    return _any_bit(ex.Ct(ex.CtKey.STATUS, 0), status, Op.EQUAL if inverted else Op.NOT_EQUAL)


def _any_bit(load_bits: Expression, bits: int, than_none: Op = Op.NOT_EQUAL) -> Rule:
    return (load_bits, ex.Bitwise(0, host32(bits), host32(0)), ex.Compare(0, than_none, host32(0)))


def is_marked(mark: int) -> Rule:
    """`meta mark & 0x4000 == 0x4000`."""
    return (
        ex.Meta(ex.MetaKey.MARK, 0),
        ex.Bitwise(0, host32(mark), host32(0)),
        ex.Compare(0, Op.EQUAL, host32(mark)),
    )


def set_mark(mark: int) -> Rule:
    """`meta mark set meta mark | 0x4000`."""
    return _write_mark(mark, mark)


def clear_mark(mark: int) -> Rule:
    """`meta mark set meta mark & 0xffffbfff`."""
    return _write_mark(mark, 0)


def _write_mark(mark: int, value: int) -> Rule:
    return (
        ex.Meta(ex.MetaKey.MARK, 0),
        ex.Bitwise(0, host32(~mark & 0xFFFFFFFF), host32(value)),
        ex.SetMeta(ex.MetaKey.MARK, 0),
    )


def dnat_by_map(words: Words, fields: tuple[Field, ...], name: str, modulus: int) -> Rule:
    """`dnat ip to … . numgen random mod 5 map @name`."""
    return (*load(words, fields, modulus), ex.Lookup(name, 0, 0), ex.Dnat(words.number, 0, words.daddr.length // 4))


def dnat_to(words: Words, protocol: Protocol, address: str, port: int) -> Rule:
    """`meta l4proto tcp dnat to 10.0.0.1:8080`."""
    return (
        *of_protocol(protocol),
        ex.Immediate(0, words.pack(address)),
        ex.Immediate(CONSTANT_PORT_WORD, port.to_bytes(2, "big")),
        ex.Dnat(words.number, 0, CONSTANT_PORT_WORD),
    )


def remember(words: Words, name: str) -> Rule:
    """`update @name { ip saddr }`."""
    return (*load(words, (words.saddr,)), ex.Update(name, 0))


def goto(chain: str) -> Rule:
    """`goto chain`."""
    return (ex.Jump(Code.GOTO, chain),)


def jump(chain: str) -> Rule:
    """`jump chain`."""
    return (ex.Jump(Code.JUMP, chain),)


def reject(words: Words) -> Rule:
    """`reject`."""
    return (ex.Reject(words.unreachable),)


DROP: Rule = (ex.Jump(Code.DROP),)
RETURN: Rule = (ex.Jump(Code.RETURN),)
MASQUERADE: Rule = (ex.Masquerade(),)
