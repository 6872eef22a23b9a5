"""How busy each Service is: flows now, new ones per second, bytes per second where the kernel counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from conntrack.entry import FIELDS, Entry, address_bytes, entry_of
from conntrack.layout import Status, protocol_name
from conntrack.query import EVERYTHING, Query, look
from conntrack.services import Door, Services
from conntrack.stale import judge
from conntrack.stats import OTHER, socket_text
from conntrack.wire import Columns, Reader, Row, Words
from kproxy.core.values import Value

_KEY = (
    "protocol", "original_destination", "original_destination_port", "reply_source", "reply_source_port", "status",
    "zone", "original_zone", "reply_zone",
)  # fmt: skip
_BYTES = ("original_bytes", "reply_bytes")
_SEEN_REPLY = int(Status.SEEN_REPLY)


class Load(Value, frozen=True):
    """One Service port, or one destination."""

    name: str
    flows: int
    unreplied: int
    new_per_s: float
    bytes_per_s: float | None
    """None where the kernel does not count (sysctl nf_conntrack_acct)."""
    stale: int = 0
    """Flows that no serving endpoint answers, as far as Services are known."""


class Sample:
    """What the table held at one moment, by name; filled batch by batch."""

    def __init__(self, services: Services, query: Query = EVERYTHING) -> None:
        """Only flows that the query wants are counted."""
        self._services = services
        self._query = query
        self._reader = Reader(_KEY if query == EVERYTHING else FIELDS)
        self.flows: Counter[str] = Counter()
        self.unreplied: Counter[str] = Counter()
        self.stale: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.accounting = False

    def add(self, messages: Iterable[bytes]) -> None:
        """Count raw messages."""
        if self._query == EVERYTHING:
            for columns, joined in self._reader.groups(messages):
                self._add_group(columns, joined)
            return
        for entry in map(entry_of, self._reader.rows(messages)):
            if self._query.wants(look(self._services, entry)):
                self._add_entry(entry)

    def _add_group(self, columns: Columns, joined: bytes) -> None:
        sums = Columns(columns.shape, _BYTES)
        moved: Counter[Words] = Counter()
        if _BYTES[0] in columns.shape.places:
            for words, values in zip(columns.keys(joined), sums.unpack.iter_unpack(joined), strict=True):
                moved[words] += sum(values)
        for words, flows in Counter(columns.keys(joined)).items():
            self._count(columns.row_of(words), flows, moved[words] if moved else None)

    def _add_entry(self, entry: Entry) -> None:
        original, reply, counters = entry.original, entry.reply, (entry.original_counters, entry.reply_counters)
        row = (
            entry.protocol, address_bytes(original.destination), original.destination_port,
            address_bytes(reply.source), reply.source_port, int(entry.status), entry.zone, original.zone, reply.zone,
        )  # fmt: skip
        counted = [one.bytes for one in counters if one is not None]
        self._count(row, 1, sum(counted) if counted else None)

    def _count(self, row: Row, flows: int, moved: int | None) -> None:
        protocol, address, port, source, source_port, status, *zones = row
        door = None if any(zones) else self._services.door(protocol, address, port)
        name = _name(self._services, door, protocol, address, port)
        self.flows[name] += flows
        if not (status or 0) & _SEEN_REPLY:
            self.unreplied[name] += flows
        if door is not None and judge(door, (address, port), (source, source_port or 0), protocol, status or 0):
            self.stale[name] += flows
        if moved is not None:
            self.accounting = True
            self.bytes[name] += moved


def name_of(services: Services, query: Query, entry: Entry) -> str | None:
    """Under which name a flow that begins is counted; None if the query does not want it.

    It is in its first state, whatever becomes of it, so that no state is asked for.
    """
    seen = look(services, entry)
    if not msgspec.structs.replace(query, state="").wants(seen):
        return None
    original = entry.original
    return _name(services, seen.door, entry.protocol, address_bytes(original.destination), original.destination_port)


def _name(services: Services, door: Door | None, protocol: int, address: bytes, port: int | None) -> str:
    if door is not None:
        return str(door)
    return OTHER if services.made_of else socket_text(address, port, protocol_name(protocol))


SORTS: Mapping[str, str] = {"flows": "flows", "new": "new_per_s", "bytes": "bytes_per_s"}
"""What loads can be sorted by, and the field."""


def loads(before: Sample | None, now: Sample, begun: Mapping[str, int], seconds: float, sort: str) -> list[Load]:
    """The loads, the greatest first; `begun` counts the flows that began within these `seconds`."""
    found = [
        Load(
            name,
            flows,
            now.unreplied[name],
            begun.get(name, 0) / seconds,
            _rate(before, now, name, seconds),
            now.stale[name],
        )
        for name, flows in now.flows.items()
    ]
    return sorted(found, key=lambda load: (-(getattr(load, SORTS[sort]) or 0), load.name))


def _rate(before: Sample | None, now: Sample, name: str, seconds: float) -> float | None:
    """Flows that ended meanwhile took their bytes with them, so this is what can be said at least."""
    if before is None or not now.accounting:
        return None
    return max(now.bytes[name] - before.bytes[name], 0) / seconds
