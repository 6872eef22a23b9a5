"""ctnetlink messages to rows of fields, without an object per attribute.

Flows of one kind are encoded alike: the same attributes in the same order with
the same lengths, hence every field at the same offset. The first message of a
kind is walked attribute by attribute and leaves a `Shape`; the others need no
walk. That a message fits a shape is not assumed but checked: family and every
attribute header of the shape are compared, for a whole batch of messages with one
comparison per header. What fits is then read by one `struct.Struct`, whose
`iter_unpack` makes rows at C speed and converts from network order. Where flows are
only counted, not even a row is made of each: see `Columns.keys`.

A message that does not add up is counted in `Reader.undecodable` and skipped.
Nothing here knows a socket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import itemgetter
from typing import Any, NamedTuple

from conntrack.layout import AF_INET, AF_INET6, CONTAINERS, NAMES, SUBSYSTEM, Path
from kproxy.netlink.attributes import HEADER as ATTRIBUTE
from kproxy.netlink.attributes import TYPE_MASK, Malformed
from kproxy.netlink.messages import HEADER

Row = tuple[Any, ...]
"""The values of the fields that were asked for, in that order: integers, bytes, or None where a flow has none."""
Words = int | tuple[int, ...]
"""The 32-bit words of a message that hold some fields, in the order of this machine's bytes; one is given alone."""

FIRST_ATTRIBUTE = HEADER.size + 4
"""After nlmsghdr and nfgenmsg."""
FAMILY_OFFSET = HEADER.size
_MESSAGE = struct.Struct("=IHH")
_WORD = struct.Struct("=I")
_HEAD = struct.Struct("=II")
"""The length of a message, and type and flags as one number."""
_SHAPES_KEPT = 1024
_NUMBERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_ADDRESSES = ("original_source", "original_destination", "reply_source", "reply_destination")
_NEEDED = frozenset((*_ADDRESSES, "protocol"))
"""What every flow has; a message without is none."""
_ADDRESS_SIZES = {AF_INET: 4, AF_INET6: 16}


class Place(NamedTuple):
    """Where a field stands in every message of a shape, and its struct code."""

    offset: int
    code: str

    @property
    def words(self) -> range:
        """The 32-bit words of a message in which it stands."""
        return range(self.offset // 4, (self.offset + struct.calcsize(">" + self.code) + 3) // 4)


class Shape:
    """What all messages of one kind have in common: their size, their attribute headers, and where the fields are."""

    __slots__ = ("headers", "places", "signature", "size")

    def __init__(self, size: int, headers: Mapping[int, bytes], places: Mapping[str, Place]) -> None:
        self.size = size
        self.places = places
        self.headers = tuple((offset // 4, word) for offset, word in headers.items())
        self.signature = (_select(size, [Place(offset, "4s") for offset in headers]), tuple(headers.values()))

    def fits(self, message: bytes) -> bool:
        """Whether a message of this size has exactly these attributes."""
        unpack, expected = self.signature
        return unpack.unpack(message) == expected

    def fits_all(self, joined: bytes) -> bool:
        """`fits` for every message of a row of messages of this size, laid end to end."""
        words = memoryview(joined).cast("I")
        step, count = self.size // 4, len(joined) // self.size
        return all(words[offset::step].tobytes() == word * count for offset, word in self.headers)


def learn(message: bytes) -> Shape:
    """The shape of a message; Malformed if its lengths do not add up."""
    size = len(message)
    if size < FIRST_ATTRIBUTE or size % 4:
        raise Malformed(f"a flow of {size} bytes")
    address_size = _ADDRESS_SIZES.get(message[FAMILY_OFFSET])
    if address_size is None:
        raise Malformed(f"a flow of address family {message[FAMILY_OFFSET]}")
    headers = {FAMILY_OFFSET: message[FAMILY_OFFSET:FIRST_ATTRIBUTE]}
    places = {"family": Place(FAMILY_OFFSET, "B")}
    for offset, length, path in _walk(message, FIRST_ATTRIBUTE, size, ()):
        headers[offset] = message[offset : offset + 4]
        name = NAMES.get(path)
        if name is not None:
            places[name] = Place(offset + 4, _code(name, length, address_size))
    if not places.keys() >= _NEEDED:
        raise Malformed(f"a flow without {', '.join(sorted(_NEEDED - places.keys()))}")
    return Shape(size, headers, places)


def _code(name: str, length: int, address_size: int) -> str:
    if name == "helper" or (name in _ADDRESSES and length == address_size):
        return f"{length}s"
    if name in _ADDRESSES or length not in _NUMBERS:
        raise Malformed(f"{name} of {length} bytes")
    return _NUMBERS[length]


def _walk(message: bytes, start: int, end: int, above: Path) -> Iterator[tuple[int, int, Path]]:
    """Offset, payload length and path of every attribute, containers before their contents."""
    while start + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(message, start)
        if length < ATTRIBUTE.size or start + length > end:
            raise Malformed(f"attribute of {length} bytes at {start}, {end - start} are left")
        path = (*above, kind & TYPE_MASK)
        yield start, length - ATTRIBUTE.size, path
        if path in CONTAINERS:
            yield from _walk(message, start + ATTRIBUTE.size, start + length, path)
        start += (length + 3) & ~3


def _select(size: int, places: Iterable[Place]) -> struct.Struct:
    """A Struct over a message that gives these places, in order of their offsets, and skips the rest."""
    code, position = [">"], 0
    for place in sorted(places):
        code.append(f"{place.offset - position}x{place.code}")
        position = place.offset + struct.calcsize(">" + place.code)
    code.append(f"{size - position}x")
    return struct.Struct("".join(code))


class Part(NamedTuple):
    """One received buffer, cut up: the messages that are flows, the others, and all flags that were set in any."""

    flows: list[bytes]
    others: list[bytes]
    flags: int


def split(buffer: bytes) -> Part:
    """The messages of a received buffer; Malformed if a length does not add up."""
    flows: list[bytes] = []
    others: list[bytes] = []
    append, head, usual = flows.append, _HEAD.unpack_from, -1
    every, position, end = 0, 0, len(buffer)
    last = end - HEADER.size
    while position <= last:
        length, what = head(buffer, position)
        stop = position + length
        if length < HEADER.size or stop > end:
            raise Malformed(f"message of {length} bytes at {position}, {end - position} are left")
        if what != usual:  # what most messages of a buffer have in common is looked at once
            _, kind, flags = _MESSAGE.unpack_from(buffer, position)
            every |= flags
            usual, append = what, (flows if kind >> 8 == SUBSYSTEM else others).append
        append(buffer[position:stop])
        position = (stop + 3) & ~3
    return Part(flows, others, every)


class Columns:
    """A choice of fields in one shape: `unpack` gives their raw values, `row` puts those into the asked order.

    For counting there is a shorter way: `keys` gives what tells rows apart, and only what is distinct is then made
    a row by `row_of`.
    """

    __slots__ = ("_pick", "_unpack_key", "_words", "shape", "unpack")

    def __init__(self, shape: Shape, fields: Sequence[str]) -> None:
        places = shape.places
        present = sorted({name for name in fields if name in places}, key=lambda name: places[name].offset)
        self.shape = shape
        self.unpack = _select(shape.size, [places[name] for name in present])
        index = {name: number for number, name in enumerate(present)}
        self._pick = itemgetter(*(index.get(name, -1) for name in (*fields, "")))
        words = {word: None for name in present for word in places[name].words} or {FAMILY_OFFSET // 4: None}
        self._words = tuple(words)
        at = {word: 4 * number for number, word in enumerate(words)}
        moved = [Place(at[place.words[0]] + place.offset % 4, place.code) for place in map(places.__getitem__, present)]
        self._unpack_key = _select(4 * len(words), moved).unpack

    def row(self, values: Row) -> Row:
        """Raw values in the asked order, None for what this shape does not have."""
        row: Row = self._pick((*values, None))
        return row[:-1]

    def keys(self, joined: bytes) -> Iterable[Words]:
        """For each of the messages that are laid end to end, the words that hold its fields."""
        words, step = memoryview(joined).cast("I"), self.shape.size // 4
        columns = [words[word::step].tolist() for word in self._words]
        return columns[0] if len(columns) == 1 else zip(*columns, strict=True)

    def row_of(self, key: Words) -> Row:
        """The row of one of `keys`."""
        return self.row(self._unpack_key(words_bytes(key)))


def words_bytes(words: Words) -> bytes:
    """The bytes of the message that were made these words."""
    return _WORD.pack(words) if isinstance(words, int) else struct.pack(f"={len(words)}I", *words)


def bytes_words(data: bytes) -> Words:
    """The words of bytes; of one word, or several."""
    words = struct.unpack(f"={len(data) // _WORD.size}I", data)
    return words[0] if len(words) == 1 else words


class Reader:
    """Reads messages into rows of the given fields; keeps the shapes that it has met."""

    def __init__(self, fields: Sequence[str]) -> None:
        self.fields = tuple(fields)
        self.undecodable = 0
        self._known: dict[int, list[Columns]] = {}
        self._count = 0

    def rows(self, messages: Iterable[bytes]) -> Iterator[Row]:
        """A row for every message that can be read; grouped by shape, so not in the messages' order."""
        for columns, joined in self.groups(messages):
            yield from map(columns.row, columns.unpack.iter_unpack(joined))

    def with_messages(self, messages: Iterable[bytes]) -> Iterator[tuple[Row, bytes]]:
        """Like `rows`, each row with the message that it came from."""
        for columns, joined in self.groups(messages):
            size, position = columns.shape.size, 0
            for row in map(columns.row, columns.unpack.iter_unpack(joined)):
                yield row, joined[position : position + size]
                position += size

    def row(self, message: bytes) -> Row | None:
        """The row of one message; None if it cannot be read."""
        columns = self._columns(message)
        return None if columns is None else columns.row(columns.unpack.unpack(message))

    def groups(self, messages: Iterable[bytes]) -> Iterator[tuple[Columns, bytes]]:
        """The messages that can be read, laid end to end by shape."""
        messages = list(messages)
        sizes = list(map(len, messages))
        for size in dict.fromkeys(sizes):
            group = list(compress(messages, map(size.__eq__, sizes)))
            joined = b"".join(group)
            for columns in self._known.get(size, ()):
                if columns.shape.fits_all(joined):
                    yield columns, joined
                    break
            else:
                yield from self._sorted_by_shape(group)

    def _sorted_by_shape(self, messages: Iterable[bytes]) -> Iterator[tuple[Columns, bytes]]:
        by_shape: dict[Columns, list[bytes]] = {}
        for message in messages:
            columns = self._columns(message)
            if columns is not None:
                by_shape.setdefault(columns, []).append(message)
        for columns, group in by_shape.items():
            yield columns, b"".join(group)

    def _columns(self, message: bytes) -> Columns | None:
        for columns in self._known.get(len(message), ()):
            if columns.shape.fits(message):
                return columns
        try:
            columns = Columns(learn(message), self.fields)
        except Malformed:
            self.undecodable += 1
            return None
        if self._count >= _SHAPES_KEPT:
            self._known.clear()
            self._count = 0
        self._known.setdefault(len(message), []).append(columns)
        self._count += 1
        return columns
