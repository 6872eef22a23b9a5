"""Set elements as nft writes them, from the bytes that the kernel holds."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Final

from backends.nftables.layout import DPORT, INDEX, L4PROTO
from backends.nftables.objects import Element, Field, Set
from kproxy.core.values import PROTOCOL_NUMBERS

PROTOCOL_NAMES: Final = {number: protocol.lower() for protocol, number in PROTOCOL_NUMBERS.items()}
_ADDRESS_FAMILIES: Final = {4: socket.AF_INET, 16: socket.AF_INET6}


def value_text(field: Field, packed: bytes) -> str:
    """A value of a field; `packed` may be padded."""
    raw = packed[: field.length]
    if field is L4PROTO:
        return PROTOCOL_NAMES.get(raw[0], str(raw[0]))
    if field is DPORT:
        return str(int.from_bytes(raw, "big"))
    if field is INDEX:
        return str(int.from_bytes(raw, sys.byteorder))
    return socket.inet_ntop(_ADDRESS_FAMILIES[field.length], raw)


def split(fields: Sequence[Field], packed: bytes) -> list[bytes]:
    """A padded concatenation in its parts, without the padding."""
    parts, position = [], 0
    for field in fields:
        parts.append(packed[position : position + field.length])
        position += (field.length + 3) & ~3
    return parts


def concatenation_text(fields: Sequence[Field], packed: bytes) -> str:
    """`10.0.0.1 . tcp . 80`."""
    return " . ".join(map(value_text, fields, split(fields, packed)))


def element_text(own: Set, key: bytes, element: Element) -> str:
    """An element as it stands between the braces."""
    if own.interval:
        half = len(key) // 2
        firsts, lasts = split(own.key, key[:half]), split(own.key, key[half:])
        text = " . ".join(map(range_text, own.key, firsts, lasts))
    else:
        text = concatenation_text(own.key, key)
    if element.comment:
        text += f' comment "{element.comment}"'
    if own.verdict:
        return f"{text} : goto {element.data.decode()}"
    return f"{text} : {concatenation_text(own.data, element.data)}" if own.data else text


def range_text(field: Field, first: bytes, last: bytes) -> str:
    """One value, a prefix, or a range."""
    if first == last:
        return value_text(field, first)
    start, different = int.from_bytes(first, "big"), int.from_bytes(first, "big") ^ int.from_bytes(last, "big")
    host_bits = different.bit_length()
    if different == (1 << host_bits) - 1 and not start & different:
        return f"{value_text(field, first)}/{8 * len(first) - host_bits}"
    return f"{value_text(field, first)}-{value_text(field, last)}"
