"""The text of a manifest file as documents: each as JSON, with a way back from a field to its line.

Rules kept: what cannot be read is a Problem that names file and line, and
nothing raises; text is UTF-8, with or without a byte order mark; an alias may
save typing, but not blow up a document.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from kproxy.config.yamltree import Mapping, Position, Scalar, Sequence, Tree, read_documents
from kproxy.core.values import Value
from kproxy.errors import ConfigError, KproxyError, ParseError, UnreadableFile

MAX_BYTES = 64 << 20
"""Room for about 30,000 Services with their slices in one file."""
FREE_NODES = 1_000_000
"""What a document may hold when its aliases are written out, however short its text is."""

_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]|\[([^\[\]]+)\]")
"""A step of a field's path: a name, `[3]`, or `[a.name/with.dots]`."""
_PLACE = re.compile(r"(?::(?P<line>[0-9]+))?(?::[0-9]+)?: (?P<reason>.*)", re.DOTALL)
_MERGE = "<<"


class Problem(Value, frozen=True):
    """What is wrong with a file, or with one object in it: where, what, and why."""

    file: str
    line: int
    """Counted from 1; 0 when unknown."""
    what: str
    """The object, `Service shop/cart`; empty for the file itself."""
    field: str
    reason: str

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.what, self.field, self.reason) if part)

    @property
    def error(self) -> KproxyError:
        """As an error: a ParseError for an object, which is skipped; UnreadableFile for a file."""
        if self.what:
            return ParseError(f"{self.place}: {self.what}", self.field, self.reason)
        return UnreadableFile(str(self))


class Document:
    """One document of a file: its JSON, and the lines of its fields, looked up only when something is wrong."""

    def __init__(self, name: str, raw: bytes, tree: Tree | None) -> None:
        self.name = name
        self.raw = raw
        self._tree = tree

    def line(self, field: str) -> int:
        """The line of a field such as `items[3].spec.ports[0].port`, or of what there is of it; 0 when unknown."""
        if self._tree is None:
            self._tree = _tree_of_json(self.name, self.raw)
        return _line(self._tree, field) if self._tree is not None else 0

    def line_if_known(self, field: str) -> int:
        """Likewise, but 0 where the text would have to be read once more."""
        return self.line(field) if self._tree is not None else 0


class Text(Value, frozen=True):
    """A file's documents, and what kept others from being read."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


class _Fault(Exception):
    """A document cannot be read: the line, and why."""

    def __init__(self, at: Position, reason: str) -> None:
        super().__init__(reason)
        self.line = at.line
        self.reason = reason


def read_text(name: str, content: bytes) -> Text:
    """The documents of a file that is UTF-8, YAML or JSON, and not too large; otherwise the problem."""
    if len(content) > MAX_BYTES:
        return _broken(name, 0, f"{len(content):,} bytes are more than the {MAX_BYTES:,} that are read")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _broken(name, line, f"byte {content[error.start]:#04x} is not UTF-8 text")
    if text.lstrip().startswith("{") and _is_json(text):
        return Text((Document(name, text.encode(), None),))
    try:
        trees = read_documents(text, name, MAX_BYTES)
    except ConfigError as error:
        line, reason = _split_place(str(error), name)
        return _broken(name, line, reason)
    return _documents(name, trees, max(len(text), FREE_NODES) if "*" in text else 0)


def _documents(name: str, trees: tuple[Tree, ...], most_nodes: int) -> Text:
    """The documents; `most_nodes` bounds what aliases make of each, 0 where the text has none."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for tree in trees:
        try:
            documents.append(Document(name, _json_of(tree, most_nodes), tree))
        except _Fault as fault:
            problems.append(Problem(name, fault.line, "", "", fault.reason))
    return Text(tuple(documents), tuple(problems))


def _broken(name: str, line: int, reason: str) -> Text:
    return Text(problems=(Problem(name, line, "", "", reason),))


def _split_place(message: str, name: str) -> tuple[int, str]:
    """The line and the reason of a message that begins with `name:line:column: `."""
    match = _PLACE.fullmatch(message.removeprefix(name))
    return (int(match["line"] or 0), match["reason"]) if match else (0, message)


def _is_json(text: str) -> bool:
    """Whether it is one JSON document: then nothing slower needs to read it."""
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _tree_of_json(name: str, raw: bytes) -> Tree | None:
    """None where JSON is not YAML: libyaml takes no surrogate pairs."""
    try:
        trees = read_documents(raw.decode(), name, MAX_BYTES)
    except ConfigError:
        return None
    return trees[0] if trees else None


def _json_of(tree: Tree, most_nodes: int) -> bytes:
    if most_nodes and _written_out(tree, {}) > most_nodes:
        raise _Fault(tree.at, f"its aliases make more than {most_nodes:,} values of this document")
    return msgspec.json.encode(_plain(tree, {}))


def _written_out(tree: Tree, known: dict[int, int]) -> int:
    """How many values a tree holds with every alias written out; `known` remembers shared parts by identity."""
    if isinstance(tree, Scalar):
        return 1
    if id(tree) not in known:
        children = tree.items if isinstance(tree, Sequence) else (part for entry in tree.entries for part in entry)
        known[id(tree)] = 1 + sum(_written_out(child, known) for child in children)
    return known[id(tree)]


def _plain(tree: Tree, known: dict[int, Any]) -> Any:  # noqa: ANN401 - what JSON can hold
    """The tree as lists, dicts and values; a part that aliases share is built once."""
    if isinstance(tree, Scalar):
        return _value(tree)
    if id(tree) not in known:
        if isinstance(tree, Sequence):
            known[id(tree)] = [_plain(item, known) for item in tree.items]
        else:
            known[id(tree)] = _fields(tree, known)
    return known[id(tree)]


def _value(scalar: Scalar) -> str | float | bool | None:
    """A plain value; `2001:10:20:30:40:50:1:2` is an address here, not the base-60 number of YAML 1.1."""
    return scalar.text if ":" in scalar.text else scalar.value


def _fields(tree: Mapping, known: dict[int, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, value in tree.entries:
        if not isinstance(key, Scalar):
            raise _Fault(key.at, "a field's name must be text")
        if key.text in fields:
            raise _Fault(key.at, f"field {key.text[:80]!a} stands here a second time")
        if key.text == _MERGE:
            merged = _merged(value, known)
        else:
            fields[key.text] = _plain(value, known)
    return {**merged, **fields}


def _merged(tree: Tree, known: dict[int, Any]) -> dict[str, Any]:
    """What `<<` brings in (yaml.org/type/merge): of several mappings the first wins."""
    parts = tree.items if isinstance(tree, Sequence) else (tree,)
    fields: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, Mapping):
            raise _Fault(part.at, "<< takes a mapping of fields or a list of them")
        fields = {**_plain(part, known), **fields}
    return fields


def _line(tree: Tree, field: str) -> int:
    line = tree.at.line
    for plain, index, quoted in _STEP.findall(field):
        key = plain or quoted
        if isinstance(tree, Mapping) and key:
            found = next(((k.at, v) for k, v in tree.entries if isinstance(k, Scalar) and k.text == key), None)
        elif isinstance(tree, Sequence) and index and int(index) < len(tree.items):
            found = (tree.items[int(index)].at, tree.items[int(index)])
        else:
            found = None
        if found is None:
            break
        line, tree = found[0].line, found[1]
    return line
