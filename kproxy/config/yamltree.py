"""YAML text as a tree of values that know their line and column; nothing is constructed, nothing is looked up.

Rules kept: a tree is built from libyaml's events in a loop of our own, because its composer recurses in C and dies
(the whole process) on deeply nested text. Depth and size are bounded, an alias stands for the very node it names, so
a "billion laughs" stays as small as its text.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from kproxy.core.values import Value
from kproxy.errors import ConfigError

MAX_DEPTH = 64
"""Far more than any configuration nests, far less than any stack holds."""
MAX_BYTES = 1 << 20

Plain = str | int | float | bool | None


class Position(Value, frozen=True):
    """Where in the text; both count from 1."""

    line: int
    column: int


class Scalar(Value, frozen=True):
    """A single value, typed as YAML 1.1 types plain text (as kube-proxy's reader does); `text` is what stands there."""

    at: Position
    value: Plain
    text: str


class Sequence(Value, frozen=True):
    """A list."""

    at: Position
    items: tuple[Tree, ...]


class Mapping(Value, frozen=True):
    """Keys and values in the order of the text; a key may stand more than once."""

    at: Position
    entries: tuple[tuple[Tree, Tree], ...]


Tree = Scalar | Sequence | Mapping

_Start = yaml.MappingStartEvent | yaml.SequenceStartEvent
_Open = tuple[_Start, list[Tree]]


def read_documents(text: str, name: str, max_bytes: int = MAX_BYTES) -> tuple[Tree, ...]:
    """The documents of a YAML (or JSON) text, empty ones left out; ConfigError names `name`, line and column."""
    if len(text) > max_bytes:
        raise ConfigError(f"{name}: {len(text):,} characters are more than the {max_bytes:,} that are read")
    try:
        return tuple(tree for tree in _compose(text, name) if not (isinstance(tree, Scalar) and tree.value is None))
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{name}:{_where(error)}: not YAML: {_oneline(error)}") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())}") from error


def _compose(text: str, name: str) -> Iterator[Tree]:
    anchors: dict[str, Tree] = {}
    stack: list[_Open] = []
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            anchors.clear()
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(stack) == MAX_DEPTH:
                raise ConfigError(f"{name}:{_at(event).line}: nested deeper than {MAX_DEPTH} levels")
            stack.append((event, []))
        elif (tree := _finished(event, stack, anchors, name)) is not None:
            if stack:
                stack[-1][1].append(tree)
            else:
                yield tree


def _finished(event: yaml.Event, stack: list[_Open], anchors: dict[str, Tree], name: str) -> Tree | None:
    """The node that ends with this event; None for the events that end none."""
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise ConfigError(f"{name}:{_at(event).line}: *{event.anchor} names no anchor before it")
        return anchors[event.anchor]
    tree: Tree
    if isinstance(event, yaml.ScalarEvent):
        tree, anchor = _scalar(event, name), event.anchor
    elif isinstance(event, yaml.MappingEndEvent):
        start, parts = stack.pop()
        tree, anchor = Mapping(_at(start), tuple(zip(parts[::2], parts[1::2], strict=True))), start.anchor
    elif isinstance(event, yaml.SequenceEndEvent):
        start, parts = stack.pop()
        tree, anchor = Sequence(_at(start), tuple(parts)), start.anchor
    else:
        return None
    if anchor is not None:
        anchors[anchor] = tree
    return tree


_TEXT = "tag:yaml.org,2002:str"
_TYPED = {
    "tag:yaml.org,2002:bool": yaml.SafeLoader.construct_yaml_bool,
    "tag:yaml.org,2002:int": yaml.SafeLoader.construct_yaml_int,
    "tag:yaml.org,2002:float": yaml.SafeLoader.construct_yaml_float,
    "tag:yaml.org,2002:null": yaml.SafeLoader.construct_yaml_null,
}
_CONSTRUCTOR = yaml.SafeLoader("")


def _scalar(event: yaml.ScalarEvent, name: str) -> Scalar:
    tag = event.tag or _TEXT
    if event.implicit[0]:
        tag = _CONSTRUCTOR.resolve(yaml.ScalarNode, event.value, (True, False))  # type: ignore[no-untyped-call] # yaml's
    make = _TYPED.get(tag)
    if make is None:
        return Scalar(_at(event), event.value, event.value)
    try:
        value = make(_CONSTRUCTOR, yaml.ScalarNode(tag, event.value))
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        at = _at(event)
        raise ConfigError(f"{name}:{at.line}:{at.column}: {event.value[:80]!r} cannot be read as {tag}") from error
    return Scalar(_at(event), value, event.value)


def _at(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _where(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"


def _oneline(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(" ".join(part.split()) for part in (error.problem, error.context) if part)
