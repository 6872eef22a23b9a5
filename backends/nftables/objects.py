"""What stands in our nftables table, as values: table, sets, chains with their rules, elements.

Ids are single strings, so that a Document's mappings stay small, hash once, and
keep out of the garbage collector: text for what has a name (`chain dispatch`),
bytes for elements, which are the many: the set's name, a zero byte, the key as
the kernel holds it. An interval set's key is its start and its end, joined.
"""

from __future__ import annotations

from typing import TypeAlias

from backends.nftables.expressions import Expression
from kproxy.core.document import ObjectId
from kproxy.core.values import Value

SEPARATOR = b"\0"
TABLE_NAME = "kproxy"
LAYOUT = "kproxy layout 1"
"""The table's comment. A table with another one is replaced as a whole: raise the number with the layout."""

ElementId: TypeAlias = bytes
NamedId: TypeAlias = str

TABLE_ID: NamedId = f"table {TABLE_NAME}"


def set_id(name: str) -> NamedId:
    """The id of a set or map."""
    return f"set {name}"


def chain_id(name: str) -> NamedId:
    """The id of a chain."""
    return f"chain {name}"


def name_of(key: ObjectId) -> str:
    """The name in an id: of the table, the set, the chain, or of an element's set."""
    if isinstance(key, bytes):
        return key.partition(SEPARATOR)[0].decode()
    return str(key).partition(" ")[2]


def element_id(name: str, key: bytes) -> ElementId:
    """The id of an element of a set."""
    return name.encode() + SEPARATOR + key


def key_of(element: ElementId) -> bytes:
    """The key in an element's id."""
    return element.partition(SEPARATOR)[2]


Rule: TypeAlias = tuple[Expression, ...]


class Table(Value, frozen=True):
    """The table itself."""

    comment: str = LAYOUT


class Hook(Value, frozen=True):
    """Where a base chain is attached; the policy is always accept."""

    type: str
    name: str
    priority: int


class Chain(Value, frozen=True):
    """A chain with its rules: one object, replaced as a whole."""

    hook: Hook | None
    rules: tuple[Rule, ...]


class Field(Value, frozen=True):
    """A part of a set's key or data."""

    typeof: str
    """How nft writes the expression that it comes from: `ip daddr`."""
    type: str
    """nft's name of its data type: `ipv4_addr`."""
    number: int
    """nft's number of that type (include/datatype.h of nftables)."""
    length: int
    """In bytes; every field is padded to four in a key."""
    origin: bytes
    """The expression as nft keeps it in a set's user data, so that it can print `typeof`."""


class Set(Value, frozen=True):
    """A set, or a map if it has data; `verdict` maps lead to chains."""

    key: tuple[Field, ...]
    data: tuple[Field, ...] = ()
    verdict: bool = False
    interval: bool = False
    timeout_s: int = 0
    """More than 0: rules add elements, which go after this time without use."""

    @property
    def is_map(self) -> bool:
        """Whether elements carry data."""
        return self.verdict or bool(self.data)

    @property
    def is_typed_by_origin(self) -> bool:
        """Whether it must be declared with `typeof`: an integer has no size of its own."""
        return any(field.type == "integer" for field in self.key)


class Element(Value, frozen=True):
    """An element: its data (padded fields, or the chain's name for a verdict map) and its comment."""

    data: bytes = b""
    comment: str = ""


NamedObject: TypeAlias = Table | Set | Chain
Object: TypeAlias = NamedObject | Element
