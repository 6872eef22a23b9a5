"""From a Change to the messages of one batch, in an order that the kernel takes.

First what is referred to, last what is let go: table, new sets, new chains,
rules (a changed chain is emptied and filled again), elements out, elements in,
chains and sets out. Elements are packed into as few messages as the 64 KiB of
an attribute allow; every message remembers its objects, so that an error can
be led back to one.

Source: net/netfilter/nf_tables_api.c, include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

from backends.nftables.expression_codec import NFTA_LIST_ELEM, encode_rule, verdict_data
from backends.nftables.expressions import Code
from backends.nftables.layout import HOOK_NUMBERS, STICKY_SIZE, WORDS, standard_set, tlv
from backends.nftables.objects import (
    SEPARATOR,
    TABLE_ID,
    TABLE_NAME,
    Chain,
    Element,
    ElementId,
    Field,
    Set,
    Table,
    name_of,
)
from kproxy.core.document import Change, Content, ObjectId
from kproxy.core.values import Family
from kproxy.netlink.attributes import NESTED, attribute, nested, text, u32, u64
from kproxy.netlink.messages import NFGENMSG, NLM_F_APPEND, NLM_F_CREATE, netfilter

SUBSYSTEM: Final = 10
"""NFNL_SUBSYS_NFTABLES."""
NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, GETRULE, DELRULE = range(9)
NEWSET, GETSET, DELSET, NEWSETELEM, GETSETELEM, DELSETELEM, NEWGEN, GETGEN = range(9, 17)

INTERVAL, MAP, TIMEOUT, EVAL, CONCAT = 0x4, 0x8, 0x10, 0x20, 0x80
VERDICT_TYPE: Final = 0xFFFFFF00
VERDICT_LENGTH: Final = 16
TYPE_BITS: Final = 6
CONCAT_EXPRESSION: Final = 13
BIG_ENDIAN: Final = 2
MAX_ELEMENTS_BYTES: Final = 60000

_KEY, _DATA, _USERDATA, _KEY_END = 1, 2, 6, 10
_HEADERS = struct.Struct("=HHHH")
_HEADER = struct.Struct("=HH")

Elements: TypeAlias = list[tuple[ElementId, Element]]


class Request(NamedTuple):
    """A message without its number; `subjects` are the objects in it, in their order in the message."""

    kind: int
    flags: int
    payload: bytes
    subjects: Sequence[ObjectId]


def requests(family: Family, change: Change) -> list[Request]:
    """The messages that make a change."""
    if TABLE_ID in change.removed:
        return [_table(family, DELTABLE, None)]
    old: dict[ObjectId, Content] = {key: entry.content for key, entry in change.removed.items()}
    old.update((key, entry.old) for key, entry in change.changed.items())
    new: dict[ObjectId, Content] = {key: entry.content for key, entry in change.added.items()}
    new.update((key, entry.new) for key, entry in change.changed.items())
    before: list[Request] = []
    if TABLE_ID in old:
        # A table of another layout goes with all that is in it.
        before, old = [_table(family, DELTABLE, None)], {}
    return [*before, *_requests(family, old, new)]


def _requests(family: Family, old: Mapping[ObjectId, Content], new: Mapping[ObjectId, Content]) -> Iterator[Request]:
    if TABLE_ID in new:
        yield _table(family, NEWTABLE, cast("Table", new[TABLE_ID]))
    yield from (_new_set(family, key, item) for key, item in new.items() if isinstance(item, Set))
    chains = {key: item for key, item in new.items() if isinstance(item, Chain)}
    yield from (_new_chain(family, key, chain) for key, chain in chains.items() if key not in old)
    emptied = [key for key, item in old.items() if isinstance(item, Chain)]
    yield from (_by_chain(family, DELRULE, 0, key) for key in emptied)
    for key, chain in chains.items():
        yield from (_new_rule(family, key, encode_rule(rule)) for rule in chain.rules)
    dying = {name_of(key) for key, item in old.items() if isinstance(item, Set)}
    leaving = _by_set(old)
    yield from _elements(family, DELSETELEM, {name: keys for name, keys in leaving.items() if name not in dying})
    yield from _elements(family, NEWSETELEM, _by_set(new))
    yield from (_by_chain(family, DELCHAIN, 0, key) for key in emptied if key not in new)
    yield from (_by_name(family, DELSET, key) for key, item in old.items() if isinstance(item, Set))


def _by_set(objects: Mapping[ObjectId, Content]) -> dict[str, Elements]:
    """The elements among some objects, by the name of their set."""
    by_set: dict[bytes, Elements] = {}
    for key, content in objects.items():
        if isinstance(content, Element) and isinstance(key, bytes):
            by_set.setdefault(key.partition(SEPARATOR)[0], []).append((key, content))
    return {name.decode(): elements for name, elements in by_set.items()}


def _request(family: Family, kind: int, flags: int, attributes: bytes, *subjects: ObjectId) -> Request:
    return Request(kind, flags, netfilter(WORDS[family].number, _TABLE, attributes), subjects)


_TABLE: Final = text(1, TABLE_NAME)


def _table(family: Family, kind: int, table: Table | None) -> Request:
    attributes = attribute(6, tlv(0, table.comment.encode() + b"\0")) if table else b""
    return _request(family, kind, NLM_F_CREATE if table else 0, attributes, TABLE_ID)


def _new_chain(family: Family, key: ObjectId, chain: Chain) -> Request:
    attributes = text(3, name_of(key))
    if chain.hook:
        hook = chain.hook
        place = u32(1, HOOK_NUMBERS[hook.name]) + u32(2, hook.priority & 0xFFFFFFFF)
        attributes += nested(4, place) + u32(5, 1) + text(7, hook.type)
    return _request(family, NEWCHAIN, NLM_F_CREATE, attributes, key)


def _by_chain(family: Family, kind: int, flags: int, key: ObjectId) -> Request:
    """DELRULE without a handle empties the chain, DELCHAIN removes it; the attributes' numbers differ."""
    return _request(family, kind, flags, text(2 if kind == DELRULE else 3, name_of(key)), key)


def _by_name(family: Family, kind: int, key: ObjectId) -> Request:
    return _request(family, kind, 0, text(2, name_of(key)), key)


def _new_rule(family: Family, chain: ObjectId, expressions: bytes) -> Request:
    attributes = text(2, name_of(chain)) + nested(4, expressions)
    return _request(family, NEWRULE, NLM_F_CREATE | NLM_F_APPEND, attributes, chain)


def _new_set(family: Family, key: ObjectId, item: Set) -> Request:
    flags = (INTERVAL if item.interval else 0) | (MAP if item.is_map else 0)
    flags |= TIMEOUT | EVAL if item.timeout_s else 0
    flags |= CONCAT if item.interval else 0
    attributes = [text(2, name_of(key)), u32(3, flags), u32(4, type_number(item.key)), u32(5, padded(item.key))]
    if item.verdict:
        attributes += [u32(6, VERDICT_TYPE), u32(7, VERDICT_LENGTH)]
    elif item.data:
        attributes += [u32(6, type_number(item.data)), u32(7, padded(item.data))]
    description = u32(1, STICKY_SIZE) if item.timeout_s else b""
    if item.interval:
        lengths = (nested(NFTA_LIST_ELEM, u32(1, field.length)) for field in item.key)
        description += nested(2, *lengths)
    attributes += [nested(9, description)] if description else []
    attributes += [u32(10, 1), u64(11, 1000 * item.timeout_s) if item.timeout_s else b""]
    attributes.append(attribute(13, set_userdata(item)))
    return _request(family, NEWSET, NLM_F_CREATE, b"".join(attributes), key)


def type_number(fields: Sequence[Field]) -> int:
    """Nft's number of a concatenation: six bits for each part."""
    result = 0
    for field in fields:
        result = result << TYPE_BITS | field.number
    return result


def padded(fields: Sequence[Field]) -> int:
    """The length of a concatenation in bytes, each part padded to four."""
    return sum((field.length + 3) & ~3 for field in fields)


def set_userdata(item: Set) -> bytes:
    """What nft 1.0.6 keeps with a set for itself: byte orders, and the expressions that give the types."""
    orders = struct.pack("=I", 0 if len(item.key) > 1 else BIG_ENDIAN)
    parts = [tlv(0, orders)]
    if item.is_map:
        parts.append(tlv(1, bytes(4)))
    if len(item.key) > 1:
        parts.append(tlv(3, _typeof(item.key, by_origin=item.is_typed_by_origin)))
    if item.data and item.is_typed_by_origin:
        parts.append(tlv(4, _typeof(item.data, by_origin=True)))
    if item.is_map:
        parts.append(tlv(6, bytes(4)))
    return b"".join(parts)


def _typeof(fields: Sequence[Field], *, by_origin: bool) -> bytes:
    parts = (tlv(index, field.origin) for index, field in enumerate(fields)) if by_origin else ()
    return tlv(0, struct.pack("=I", CONCAT_EXPRESSION)) + tlv(1, b"".join(parts))


def _elements(family: Family, kind: int, by_set: Mapping[str, Elements]) -> Iterator[Request]:
    for name, items in by_set.items():
        own = standard_set(family, name)
        interval, verdict = own is not None and own.interval, own is not None and own.verdict
        start = len(name.encode()) + 1
        full = kind == NEWSETELEM
        packed = [
            pack_element(key[start:], item if full else None, interval=interval, verdict=verdict) for key, item in items
        ]
        yield from _element_requests(family, kind, name, packed, [key for key, _ in items])


def _element_requests(
    family: Family, kind: int, name: str, packed: list[bytes], keys: list[ElementId]
) -> Iterator[Request]:
    """As few messages as possible; elements of one set differ little in length, so the longest counts for all."""
    step = max(1, MAX_ELEMENTS_BYTES // max(map(len, packed)))
    for start in range(0, len(packed), step):
        attributes = text(2, name) + nested(3, *packed[start : start + step])
        flags = NLM_F_CREATE if kind == NEWSETELEM else 0
        yield _request(family, kind, flags, attributes, *keys[start : start + step])


def pack_element(key: bytes, element: Element | None, *, interval: bool, verdict: bool) -> bytes:
    """One element; without `element` as a deletion names it."""
    half = len(key) // 2 if interval else len(key)
    body = _HEADERS.pack(8 + half, _KEY | NESTED, 4 + half, 1) + key[:half]
    if interval:
        body += _HEADERS.pack(8 + half, _KEY_END | NESTED, 4 + half, 1) + key[half:]
    if element is not None:
        data, comment = element.data, element.comment
        if verdict:
            body += nested(_DATA, verdict_data(Code.GOTO, data.decode()))
        elif data:
            body += _HEADERS.pack(8 + len(data), _DATA | NESTED, 4 + len(data), 1) + data
        if comment:
            body += attribute(_USERDATA, tlv(0, comment.encode() + b"\0"))
    return _HEADER.pack(4 + len(body), NFTA_LIST_ELEM | NESTED) + body


def addressed(batch: Sequence[Request], table: str) -> Sequence[Request]:
    """The same requests for a table of another name; attribute 1 of each is the table's name."""
    if table == TABLE_NAME:
        return batch
    start, name = NFGENMSG.size, text(1, table)
    return [
        one._replace(payload=b"".join((one.payload[:start], name, one.payload[start + len(_TABLE) :]))) for one in batch
    ]


def subject_at(request: Request, offset: int | None) -> ObjectId:
    """The object that an extended acknowledgement's offset points at; the message's first one if it says nothing."""
    if len(request.subjects) == 1 or offset is None:
        return request.subjects[0]
    position = 16 + 4
    for _ in ("table", "set"):
        name_length = _HEADER.unpack_from(request.payload, position - 16)[0]
        position += (name_length + 3) & ~3
    position += 4
    for subject in request.subjects:
        length = _HEADER.unpack_from(request.payload, position - 16)[0]
        if position <= offset < position + length:
            return subject
        position += length
    return request.subjects[0]
