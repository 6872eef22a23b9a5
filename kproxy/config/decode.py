"""A tree becomes one of the types of `fields`, with every problem named by file, line, column, field and value.

Rules kept: all problems of a document are found in one reading; what kube-proxy only warns about (unknown fields, a
field given twice, of which the last counts) is a warning here too; null means the default, as for the Kubernetes API.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from kproxy.config.fields import Effect
from kproxy.config.forms import Form
from kproxy.config.yamltree import Mapping as TreeMapping
from kproxy.config.yamltree import Position, Scalar, Sequence, Tree
from kproxy.core.values import Value

T = TypeVar("T", bound=Value)
E = TypeVar("E", Effect, Form)
IGNORED = frozenset({"apiVersion", "kind"})
MAX_SHOWN = 80


class Problem(Value, frozen=True):
    """Something about a field that the user should know."""

    at: Position
    path: str
    """The field, `ipvs.excludeCIDRs[0]`; empty for the document."""
    text: str


class Decoded(Value, frozen=True):
    """A document's value, and what was found on the way. With errors the value must not be used."""

    value: Any
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    places: Mapping[str, Position]
    """Where each field that is set stands, by its path (`iptables.masqueradeBit`)."""


class _Reading:
    """One pass over a document: the lists that its functions add to."""

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self.places: dict[str, Position] = {}

    def refuse(self, tree: Tree, path: str, allowed: str) -> None:
        name = path or "the document"
        self.errors.append(Problem(tree.at, path, f"{name}: {shown(tree)} is not allowed: it must be {allowed}"))


def decode(tree: Tree, kind: type[T]) -> Decoded:
    """Read a document as `kind`."""
    reading = _Reading()
    value = _struct(tree, kind, "", reading)
    return Decoded(value, tuple(reading.errors), tuple(reading.warnings), reading.places)


def shown(tree: Tree) -> str:
    """A value for a message: quoted, on one line, not endless."""
    if isinstance(tree, Scalar):
        text = repr(tree.text) if isinstance(tree.value, str) else tree.text
        return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return "a list" if isinstance(tree, Sequence) else "a mapping"


class Slot(Value, frozen=True):
    """A field of a type: where its value goes, what it must be, and what setting it does."""

    attribute: str
    hint: Any
    default: object
    effect: Effect | None


@functools.cache
def slots_of(kind: type[Value]) -> Mapping[str, Slot]:
    """A type's fields by their names in the file."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        item.encode_name: Slot(item.name, hints[item.name], item.default, _extra(hints[item.name], Effect))
        for item in msgspec.structs.fields(kind)
    }


def _extra(hint: Any, kind: type[E]) -> E | None:  # noqa: ANN401 - a type of any shape
    """What of a kind stands beside the type in an Annotated."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((item for item in extras if isinstance(item, kind)), None)


def _struct(tree: Tree, kind: type[T], path: str, reading: _Reading) -> T | None:
    if not isinstance(tree, TreeMapping):
        reading.refuse(tree, path, "a mapping of fields")
        return None
    known, values = slots_of(kind), {}
    for key, value in _entries(tree, path, reading):
        if key in known:
            slot, inner = known[key], _join(path, key)
            reading.places[inner] = value.at
            if (result := _value(value, slot.hint, inner, reading)) is not None:
                values[slot.attribute] = result
            if slot.effect is Effect.LATER and result and result != slot.default:
                reading.warnings.append(Problem(value.at, inner, f"{inner}: {slot.effect.value}"))
        elif path or key not in IGNORED:
            _warn_unknown(tree, key, known, path, reading)
    return kind(**values)


def _entries(tree: TreeMapping, path: str, reading: _Reading) -> Iterator[tuple[str, Tree]]:
    """The keys and values of a mapping, of a repeated key the last; others are complained about."""
    last: dict[str, tuple[Position, Tree]] = {}
    for key, value in tree.entries:
        if not isinstance(key, Scalar):
            reading.errors.append(Problem(key.at, path, f"{path or 'the document'}: a field's name must be text"))
            continue
        if key.text in last:
            name, line = _join(path, key.text), last[key.text][0].line
            text = f"field {name} is given twice (line {line} and here): the last one counts"
            reading.warnings.append(Problem(key.at, path, text))
        last[key.text] = (key.at, value)
    return ((key, value) for key, (_, value) in last.items())


def _warn_unknown(tree: TreeMapping, key: str, known: Mapping[str, Slot], path: str, reading: _Reading) -> None:
    at = next(entry.at for entry, _ in tree.entries if isinstance(entry, Scalar) and entry.text == key)
    spelt = {name.lower(): name for name in known}
    near = difflib.get_close_matches(key[:MAX_SHOWN].lower(), spelt, n=1)
    hint = f" (did you mean {spelt[near[0]]}?)" if near else ""
    reading.warnings.append(Problem(at, path, f"unknown field {_join(path, key)} is ignored{hint}"))


def _join(path: str, key: str) -> str:
    name = key if key.isidentifier() and len(key) <= MAX_SHOWN else repr(key[:MAX_SHOWN])
    return f"{path}.{name}" if path else name


def _value(tree: Tree, hint: Any, path: str, reading: _Reading) -> Any:  # noqa: ANN401 - the type is an argument
    """The value of a field, a list's item or a mapping's entry; None: as if it were not there."""
    form, bare = _extra(hint, Form), get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if isinstance(tree, Scalar) and tree.value is None:
        return None
    if form is not None:
        return _formed(tree, form, path, reading)
    if get_origin(bare) is tuple:
        return _items(tree, get_args(bare)[0], path, reading)
    if get_origin(bare) is Mapping:
        return _mapping(tree, get_args(bare)[1], path, reading)
    return _struct(tree, bare, path, reading)


def _formed(tree: Tree, form: Form, path: str, reading: _Reading) -> object:
    if isinstance(tree, Scalar):
        try:
            return form.read(tree.value)
        except ValueError:
            pass
    reading.refuse(tree, path, form.allowed)
    return None


def _items(tree: Tree, hint: Any, path: str, reading: _Reading) -> tuple[object, ...] | None:  # noqa: ANN401 - a type
    if not isinstance(tree, Sequence):
        reading.refuse(tree, path, "a list")
        return None
    read = [_value(item, hint, f"{path}[{index}]", reading) for index, item in enumerate(tree.items)]
    return tuple(item for item in read if item is not None)


def _mapping(tree: Tree, hint: Any, path: str, reading: _Reading) -> dict[str, object] | None:  # noqa: ANN401 - a type
    if not isinstance(tree, TreeMapping):
        reading.refuse(tree, path, "a mapping")
        return None
    read = {key: _value(value, hint, _join(path, key), reading) for key, value in _entries(tree, path, reading)}
    return {key: value for key, value in read.items() if value is not None}
