"""Set elements from a dump, and whose they are: of a large table nearly everything, so this is quick.

Within a set the kernel writes every element alike: key, data, comment, each of
a known length. What begins as expected is cut by position; the rest is read
attribute by attribute.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from backends.nftables.encode import padded
from backends.nftables.expression_codec import read_value, read_verdict
from backends.nftables.expressions import Code
from backends.nftables.layout import (
    CLUSTER_IPS,
    HAIRPIN,
    HAIRPINS,
    NODEPORT_IPS,
    NODEPORT_PREFIX,
    SHARED_IPS,
    Words,
    is_frontends,
)
from backends.nftables.objects import Element, Set, element_id
from kproxy.core.document import BASE, Content, ObjectId, Owner
from kproxy.netlink.attributes import read, string, walk
from kproxy.netlink.messages import NFGENMSG, Message

Elements: TypeAlias = list[tuple[bytes, Element]]
"""Keys and elements of one set."""

_NFTA_LIST_ELEMENTS = 3
_KEY, _DATA, _USERDATA, _KEY_END = 1, 2, 6, 10
_VALUE = 1
_HEADERS = struct.Struct("=HHHH")
_COMMENT: Final = 0


def read_elements(own: Set, messages: Iterable[Message]) -> Elements:
    """The elements in a dump of a set of ours; KeyError or Malformed if they are no elements."""
    payloads = (
        payload
        for message in messages
        for _, payload in walk(read(message.payload[NFGENMSG.size :]).get(_NFTA_LIST_ELEMENTS, b""))
    )
    if own.interval or own.verdict:
        return [_read_any(own, payload) for payload in payloads]
    return list(_read_alike(own, payloads))


def _read_alike(own: Set, payloads: Iterable[bytes]) -> Iterator[tuple[bytes, Element]]:
    """Elements whose parts have known lengths."""
    key_length, data_length = padded(own.key), padded(own.data)
    key_head = _HEADERS.pack(8 + key_length, _KEY, 4 + key_length, _VALUE)
    data_head = _HEADERS.pack(8 + data_length, _DATA, 4 + data_length, _VALUE) if own.data else b""
    data_at = 8 + key_length
    first, last = data_at + len(data_head), data_at + len(data_head) + data_length
    for payload in payloads:
        if payload.startswith(key_head) and payload.startswith(data_head, data_at):
            comment = comment_in(read(payload[last:]).get(_USERDATA, b"")) if len(payload) > last else ""
            yield payload[8:data_at], Element(payload[first:last], comment)
        else:
            yield _read_any(own, payload)


def _read_any(own: Set, payload: bytes) -> tuple[bytes, Element]:
    found = read(payload)
    key = read_value(found[_KEY])
    if own.interval:
        key += read_value(found[_KEY_END]) if _KEY_END in found else key
    return key, Element(_data(own, found), comment_in(found.get(_USERDATA, b"")))


def _data(own: Set, found: Mapping[int, bytes]) -> bytes:
    if not own.is_map or _DATA not in found:
        return b""
    if not own.verdict:
        return read_value(found[_DATA])
    verdict = read_verdict(found[_DATA])
    return verdict.chain.encode() if verdict.code is Code.GOTO else verdict.code.name.encode()


def comment_in(userdata: bytes) -> str:
    """The comment in nft's user data, empty without one."""
    position = 0
    while position + 2 <= len(userdata):
        kind, length = userdata[position], userdata[position + 1]
        if kind == _COMMENT:
            return string(userdata[position + 2 : position + 2 + length])
        position += 2 + length
    return ""


_FIXED_OWNERS: Final[Mapping[str, Owner]] = {HAIRPIN: HAIRPINS, CLUSTER_IPS: SHARED_IPS, NODEPORT_IPS: BASE}
"""Whose the elements without a comment are, where no frontend tells."""


def add_elements(
    document: dict[Owner, dict[ObjectId, Content]], elements: Mapping[str, Elements], words: Words
) -> None:
    """Put elements under their owners, as the compiler would: a comment names the Service, or its frontend's does."""
    frontends = {
        key: owner_in(element.comment)
        for name, found in elements.items()
        if is_frontends(name)
        for key, element in found
        if element.comment
    }
    for name, found in elements.items():
        length = padded(words.key(node_port=name.startswith(NODEPORT_PREFIX)))
        fixed, head = _FIXED_OWNERS.get(name), element_id(name, b"")
        for key, element in found:
            owner = owner_in(element.comment) if element.comment else fixed or frontends.get(key[:length], BASE)
            document.setdefault(owner, {})[head + key] = element


def owner_in(comment: str) -> Owner:
    """The Service in a comment `namespace/name:port`."""
    return comment.partition(":")[0]
