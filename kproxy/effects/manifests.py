"""Manifests: the bytes of a file in, the cluster's objects and every fault with its line out. No I/O here.

Rules kept: an unreadable object costs only itself, an unreadable file only
itself, and what was last known of either stays (`carry`). YAML, JSON, several
documents and lists all take one way, as JSON, so that all give the same
errors; kinds that are not ours are counted, not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kproxy.core.checks import quoted
from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.model import EndpointSlice, Event, Flaws, Kind, KubeObject, Replaced, key_of
from kproxy.core.parse import ENDPOINTS, decode, decode_key, decode_object, misfit, parse_endpoints
from kproxy.core.values import ObjectKey, Value
from kproxy.effects.manifest_text import Document, Problem, Text, read_text
from kproxy.errors import ParseError

RESOURCES: Mapping[tuple[str, str], str] = {
    ("v1", "Service"): Kind.SERVICE,
    ("discovery.k8s.io/v1", "EndpointSlice"): Kind.ENDPOINT_SLICE,
    ("v1", "Node"): Kind.NODE,
    ("networking.k8s.io/v1", "ServiceCIDR"): Kind.SERVICE_CIDR,
    ("v1", "Endpoints"): ENDPOINTS,
}
"""What is read, by apiVersion and kind."""


class Header(Value, frozen=True, rename="camel"):
    """What an object says about itself; `items` if it is a list."""

    api_version: str | None = None
    kind: str | None = None
    items: list[msgspec.Raw] | None = None


LISTS: Mapping[tuple[str, str], Header] = {
    ("v1", "List"): Header(),
    **{(version, f"{kind}List"): Header(version, kind) for version, kind in RESOURCES},
}
"""Lists, and what their items are that do not say so themselves."""


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


_VERSIONS = {(_group(version), kind): version for version, kind in (*RESOURCES, *LISTS)}
_HEADERS = msgspec.json.Decoder(Header)


class Entry(Value, frozen=True):
    """One object of a file; `items` is None if it cannot be read, and empty if it is not ours to serve."""

    kind: str
    key: ObjectKey
    line: int
    """Counted from 1; 0 when unknown."""
    items: tuple[KubeObject, ...] | None


class Manifest(Value, frozen=True):
    """What one file says."""

    name: str
    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()
    ignored: int = 0
    """How many objects are of other kinds."""
    is_whole: bool = True
    """Whether each object is known at least by name, so that what is missing is gone on purpose."""
    is_known: bool = True
    """Whether its text can be read, or could be before, so that `entries` are what it says or last said."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Why its text cannot be read, each with its place; a fault of a single object is none of these."""
        return tuple(str(problem) for problem in self.problems if not problem.what)


class Manifests(Value, frozen=True):
    """What all files together say: whole lists of every kind, and all that is wrong."""

    events: tuple[Event, ...]
    problems: tuple[Problem, ...] = ()
    ignored: int = 0
    flaws: Flaws = Flaws()


def read_manifest(name: str, content: bytes, instance: Instance = DEFAULT) -> Manifest:
    """What a file says to an instance; `name` is what problems call it. Never raises."""
    return manifest_of(name, read_text(name, content), instance)


def manifest_of(name: str, text: Text, instance: Instance = DEFAULT) -> Manifest:
    """What a file's documents say to an instance. Never raises."""
    reader = _Reader(name, list(text.problems), instance)
    for document in text.documents:
        reader.take(_Place(document, document.raw, ""), Header())
    return Manifest(
        name, tuple(reader.entries), tuple(reader.problems), reader.ignored, reader.is_whole, not text.problems
    )


def objects_in(text: Text) -> Iterator[tuple[str, Document, str, msgspec.Raw]]:
    """Every object that is ours by kind, list or not: its kind, its document, its path there, and its JSON.

    What is no object, or cannot be told, is left out: `manifest_of` says why.
    """
    for document in text.documents:
        header = _header(document.raw)
        as_list = LISTS.get((header.api_version or "", header.kind or ""))
        if as_list is None:
            found = [("", msgspec.Raw(document.raw))]
        else:
            found = [(f"items[{index}]", raw) for index, raw in enumerate(header.items or ())]
        for path, raw in found:
            own, default = _header(raw), as_list or Header()
            kind = RESOURCES.get((own.api_version or default.api_version or "", own.kind or default.kind or ""))
            if kind is not None:
                yield kind, document, path, raw


def _header(raw: bytes | msgspec.Raw) -> Header:
    """What an object says about itself; nothing where it cannot be read."""
    try:
        return _HEADERS.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return Header()


def carry(before: Manifest | None, now: Manifest) -> Manifest:
    """The file as it now is, with what was last known of each object that cannot be read now, or of the whole file."""
    if before is None:
        return now
    if not now.is_whole:
        is_known = now.is_known or before.is_known
        return msgspec.structs.replace(now, entries=before.entries, is_known=is_known)
    known = {(entry.kind, entry.key): entry for entry in before.entries}
    entries = tuple(known.get((e.kind, e.key), e) if e.items is None else e for e in now.entries)
    return msgspec.structs.replace(now, entries=entries)


def merge(manifests: Iterable[Manifest]) -> Manifests:
    """All files as one cluster: the first of two equal names counts, and the other is a problem."""
    manifests = list(manifests)
    problems = [problem for manifest in manifests for problem in manifest.problems]
    first: dict[tuple[str, ObjectKey], tuple[str, Entry]] = {}
    for manifest in manifests:
        for entry in manifest.entries:
            winner, kept = first.setdefault((entry.kind, entry.key), (manifest.name, entry))
            if kept is not entry:
                problems.append(_second(entry, manifest.name, Problem(winner, kept.line, "", "", "").place))
    events = tuple(_events([entry for _, entry in first.values()]))
    return Manifests(events, tuple(problems), sum(manifest.ignored for manifest in manifests), _flaws(manifests))


def _flaws(manifests: Iterable[Manifest]) -> Flaws:
    broken = [manifest for manifest in manifests if manifest.faults]
    return Flaws(
        tuple(fault for manifest in broken for fault in manifest.faults),
        tuple(fault for manifest in broken if not manifest.is_known for fault in manifest.faults),
    )


def _second(entry: Entry, name: str, winner: str) -> Problem:
    what = f"{entry.kind} {entry.key}" if entry.key.namespace else f"{entry.kind} {entry.key.name}"
    return Problem(name, entry.line, what, "", f"is also in {winner}, which counts; remove one of them")


def _events(entries: Iterable[Entry]) -> Iterator[Event]:
    """A whole list per kind; old Endpoints count only for Services without an EndpointSlice."""
    items: dict[str, list[KubeObject]] = {kind: [] for kind in RESOURCES.values()}
    unreadable: dict[str, set[ObjectKey]] = {kind: set() for kind in RESOURCES.values()}
    for entry in entries:
        if entry.items is None:
            unreadable[entry.kind].add(entry.key)
        else:
            items[entry.kind].extend(entry.items)
    sliced = {item.service for item in items[Kind.ENDPOINT_SLICE] if isinstance(item, EndpointSlice)}
    old = [item for item in items[ENDPOINTS] if isinstance(item, EndpointSlice) and item.service not in sliced]
    items[Kind.ENDPOINT_SLICE].extend(old)
    for kind in Kind:
        yield Replaced(kind, tuple(items[kind]), frozenset(unreadable[kind]))


class _Place(Value, frozen=True):
    """An object's JSON, and where it is: in which document, at which path."""

    document: Document
    raw: bytes | msgspec.Raw
    path: str

    def line(self, field: str = "") -> int:
        """The line of one of its fields, or of itself."""
        return self.document.line(".".join(part for part in (self.path, field) if part))


class _Reader:
    """Reads one file's documents, object by object."""

    def __init__(self, name: str, problems: list[Problem], instance: Instance) -> None:
        self.name = name
        self.instance = instance
        self.entries: list[Entry] = []
        self.problems = problems
        self.ignored = 0
        self.is_whole = not problems

    def take(self, place: _Place, default: Header) -> None:
        """An object or a list of them; `default` is what an item of a typed list is."""
        try:
            header = _HEADERS.decode(place.raw)
        except (msgspec.DecodeError, RecursionError) as error:
            self._refuse(place, misfit("object", msgspec.json.decode(place.raw), error))
            return
        version, kind = header.api_version or default.api_version or "", header.kind or default.kind or ""
        if resource := RESOURCES.get((version, kind)):
            self._read(place, resource)
        elif (version, kind) not in LISTS:
            self._pass(place, version, kind)
        elif place.path:
            self._refuse(place, ParseError(kind, "", "a list inside a list is not read"))
        else:
            for index, raw in enumerate(header.items or ()):
                self.take(_Place(place.document, raw, f"items[{index}]"), LISTS[version, kind])

    def _read(self, place: _Place, kind: str) -> None:
        items: tuple[KubeObject, ...] | None = None
        error: ParseError | None = None
        try:
            items = _items(kind, place.raw, self.instance)
        except ParseError as refusal:
            error = refusal
        # A value knows its own key; reading it from the text once more would cost as much as the header.
        key = key_of(items[0]) if items and kind != ENDPOINTS else decode_key(kind, place.raw)
        if error is not None:
            self._refuse(place, error, is_named=key is not None)
        if key is not None:
            self.entries.append(Entry(kind, key, place.document.line_if_known(place.path), items))

    def _pass(self, place: _Place, version: str, kind: str) -> None:
        """Not ours to read: fine if it is another kind, wrong if it is one of ours that does not say so rightly."""
        served = _VERSIONS.get((_group(version), kind))
        if not kind:
            self._refuse(place, ParseError("object", "kind", "is required"))
        elif not version:
            self._refuse(place, ParseError(kind, "apiVersion", "is required"))
        elif served:
            self._refuse(place, ParseError(kind, "apiVersion", f"{quoted(version)} is not read; use {served}"))
        else:
            self.ignored += 1

    def _refuse(self, place: _Place, error: ParseError, *, is_named: bool = False) -> None:
        self.problems.append(Problem(self.name, place.line(error.field), error.what, error.field, error.reason))
        self.is_whole = self.is_whole and is_named


def _items(kind: str, raw: bytes | msgspec.Raw, instance: Instance) -> tuple[KubeObject, ...]:
    if kind == ENDPOINTS:
        return parse_endpoints(decode(kind, raw))
    item = decode_object(Kind(kind), raw, instance)
    return () if item is None else (item,)
