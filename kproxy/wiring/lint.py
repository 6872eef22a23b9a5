"""From manifests or an API server to what the checks look at, and from findings back to files and lines."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from kproxy.config import Config
from kproxy.core.host import Host
from kproxy.core.model import NO_NAMESPACE, Applied, Kind, Service
from kproxy.core.parse import ENDPOINTS, decode_key, decode_object
from kproxy.core.planner import plan_node
from kproxy.core.resource import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, own_node
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.effects.manifest_text import Document, Problem, Text, read_text
from kproxy.effects.manifests import Manifest, Manifests, manifest_of, merge, objects_in
from kproxy.effects.patience import told_when_long
from kproxy.errors import ApiError, ConfigError, ParseError
from kproxy.lint.catalogue import Report, lint
from kproxy.lint.fields import unknown_fields
from kproxy.lint.finding import Finding, Place, Ref
from kproxy.lint.subject import Subject, all_supplied
from kproxy.lint.written import STAND_INS, Written, is_unassigned, read_written, wanted_families, with_addresses
from kproxy.ports import Backend
from kproxy.wiring.backends import OFFLINE_DEFAULT, find_backend
from kproxy.wiring.cluster import READING, load_config, node_name
from kproxy.wiring.question import KUBERNETES, Asked

COLLECTIONS: Final = (SERVICES, ENDPOINT_SLICES, own_node(""), SERVICE_CIDRS)
NODES: Final = Kind.NODE


class Spot(Value, frozen=True):
    """Where an object was read: the file, its document there, and the object's path in that."""

    file: str
    document: Document
    path: str

    def place(self, field: str) -> Place:
        """The place of one of its fields."""
        return Place(self.file, self.document.line(".".join(part for part in (self.path, field) if part)))


class Read(Value, frozen=True):
    """All that was read, before anything is planned."""

    manifests: Manifests
    written: Mapping[Ref, Written]
    unassigned: Mapping[ObjectKey, msgspec.Raw]
    spots: Mapping[Ref, Spot]
    unknown_fields: Mapping[Ref, tuple[tuple[str, str], ...]] = {}
    remarks: tuple[str, ...] = ()


def lint_asked(asked: Asked, *, live: bool) -> tuple[Report, tuple[str, ...]]:
    """The report of what the options name, with remarks for the user; ConfigError or ApiError if it cannot be had."""
    config = load_config(asked.config)
    backend = find_backend(asked.backend or config.proxy.mode or OFFLINE_DEFAULT)
    read = _read_live(asked, config) if live else _read_files(asked.files or (asked.source,))
    subject = subject_of(read, asked, backend, config)
    report = lint(subject)
    findings = tuple(_placed(finding, read.spots) for finding in report.findings)
    return msgspec.structs.replace(report, findings=findings), (*read.remarks, *_unknown_nodes(subject, asked))


def _read_files(paths: Iterable[str]) -> Read:
    from kproxy.effects.files import read_contents  # noqa: PLC0415 - only where manifests are read

    texts: list[tuple[str, Text]] = []
    unread: list[Manifest] = []
    with told_when_long(READING):
        for content in read_contents(list(paths)):
            if content.problem is None:
                texts.append((content.name, read_text(content.name, content.data)))
            else:
                unread.append(content.manifest())
        return read_texts(texts, unread)


def _read_live(asked: Asked, config: Config) -> Read:
    from kproxy.effects.kube_client import open_server  # noqa: PLC0415 - the client package takes half a second
    from kproxy.effects.kube_lists import read_pages  # noqa: PLC0415

    texts: list[tuple[str, Text]] = []
    remarks: list[str] = []
    with contextlib.closing(open_server(asked.kubeconfig or config.proxy.client_connection.kubeconfig)) as server:
        for resource in COLLECTIONS:
            try:
                pages = list(read_pages(server, resource.path))
            except ApiError as error:
                if resource.kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE):
                    raise
                remarks.append(f"without {resource.kind}s, fewer things are found: {error}")
                continue
            texts.extend(("", Text((Document("", page, None),))) for page in pages)
    read = read_texts(texts, [])
    return msgspec.structs.replace(read, spots={}, unknown_fields={}, remarks=tuple(remarks))


def read_texts(texts: Iterable[tuple[str, Text]], unread: Iterable[Manifest]) -> Read:
    """What files say, by name; `unread` are those that could not be read."""
    written: dict[Ref, Written] = {}
    spots: dict[Ref, Spot] = {}
    unassigned: dict[ObjectKey, msgspec.Raw] = {}
    unknown: dict[Ref, tuple[tuple[str, str], ...]] = {}
    manifests = list(unread)
    for name, text in texts:
        manifests.append(manifest_of(name, text))
        for kind, document, path, raw in objects_in(text):
            key, found = decode_key(kind, raw), read_written(raw, is_service=kind == Kind.SERVICE)
            if key is None or found is None or kind == ENDPOINTS or Ref(kind, key) in written:
                continue
            ref = Ref(kind, key)
            written[ref], spots[ref] = found, Spot(name, document, path)
            if fields := unknown_fields(kind, raw):
                unknown[ref] = fields
            if kind == Kind.SERVICE and is_unassigned(found):
                unassigned[key] = raw
    return Read(merge(manifests), written, unassigned, spots, unknown)


def subject_of(read: Read, asked: Asked, backend: Backend, config: Config | None = None) -> Subject:
    """What the checks look at, of what was read; without a configuration the defaults count."""
    config = config or Config()
    stand_ins, problems = _with_stand_ins(read)
    snapshot = fold(fold(Snapshot(), read.manifests.events), [Applied(one) for one in stand_ins])
    settings = config.settings_for(backend.name)
    named = node_name(asked.node_name, config) if asked.node_name else ""
    nodes = tuple(node for key, node in sorted(snapshot.nodes.items()) if named in ("", key.name))
    own = snapshot.nodes.get(ObjectKey(NO_NAMESPACE, named))
    host = Host(named, (), frozenset(own.addresses if own else ()))
    plans = [plan_node(snapshot, settings, host, backend.traits, family, None).plan for family in asked.families]
    return Subject(
        snapshot=snapshot,
        written=read.written,
        unassigned=frozenset(one.key for one in stand_ins),
        nodes=nodes,
        config=config,
        config_file=asked.config or "",
        backend=backend.name,
        settings=settings,
        traits=backend.traits,
        conflicts=tuple(dict.fromkeys(conflict for plan in plans for conflict in plan.conflicts)),
        unsupported=tuple(dict.fromkeys(one for plan in plans for one in backend.compile(plan, None).unsupported)),
        supplied=tuple(one for one in all_supplied(snapshot) if one.family in asked.families),
        problems=(*read.manifests.problems, *problems),
        unknown_fields=read.unknown_fields,
    )


def _with_stand_ins(read: Read) -> tuple[list[Service], list[Problem]]:
    """The Services that wait for a ClusterIP as if they had one, and why others could not be served even then."""
    services: list[Service] = []
    problems: list[Problem] = []
    for number, (key, raw) in enumerate(sorted(read.unassigned.items(), key=lambda item: item[0]), 1):
        spec = read.written[Ref(Kind.SERVICE, key)].spec
        families = wanted_families(spec) if spec is not None else ()
        addresses = [str(ADDRESSES[family](STAND_INS[family] + number)) for family in families]
        try:
            found = decode_object(Kind.SERVICE, with_addresses(raw, addresses))
        except ParseError as error:
            problems.append(_problem(read.spots.get(Ref(Kind.SERVICE, key)), error))
        else:
            services.extend([found] if isinstance(found, Service) else [])
    return services, problems


ADDRESSES: Final = {Family.IPV4: ipaddress.IPv4Address, Family.IPV6: ipaddress.IPv6Address}


def _problem(spot: Spot | None, error: ParseError) -> Problem:
    place = spot.place(error.field) if spot is not None else Place("")
    return Problem(place.file, place.line, error.what, error.field, error.reason)


def _placed(finding: Finding, spots: Mapping[Ref, Spot]) -> Finding:
    spot = spots.get(finding.object)
    if finding.place is not None or spot is None:
        return finding
    return msgspec.structs.replace(finding, place=spot.place(finding.field))


def _unknown_nodes(subject: Subject, asked: Asked) -> Iterator[str]:
    if asked.node_name and not subject.nodes:
        known = ", ".join(sorted(key.name for key in subject.snapshot.nodes)[:5])
        hint = f"; there are {known}" if known else ""
        yield f"no Node object is named {asked.node_name}, so nothing is said of what only that node meets{hint}"


def need_source(asked: Asked, *, live: bool) -> None:
    """ConfigError unless exactly one source is named."""
    named = [bool(asked.files), asked.source != KUBERNETES, live]
    if live and any(named[:2]):
        raise ConfigError("-f or --source names manifests, --live the cluster: take one of them, not both")
    if sum(named) != 1:
        raise ConfigError("name manifests with -f FILE_OR_DIR or --source DIR, or read the cluster with --live")
