"""JSON of any length, in pieces: what is an iterator is written item by item as the items are made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping


def json_pieces(value: object) -> Iterator[str]:
    """The JSON of plain data; it, values of a mapping that it is, and so on for their items, may be iterators."""
    if isinstance(value, Iterator):
        yield from _listed("[", (json_pieces(item) for item in value), "]")
    elif isinstance(value, Mapping) and any(isinstance(part, Iterator) for part in value.values()):
        yield from _listed("{", (_entry(key, part) for key, part in value.items()), "}")
    else:
        yield json.dumps(value, separators=(",", ":"))


def _entry(key: str, value: object) -> Iterator[str]:
    yield f"{json.dumps(key)}:"
    yield from json_pieces(value)


def _listed(begin: str, items: Iterator[Iterator[str]], end: str) -> Iterator[str]:
    yield begin
    for number, item in enumerate(items):
        if number:
            yield ","
        yield from item
    yield end
