"""How busy each Service is: flows now, new ones per second, bytes per second where the kernel counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from conntrack.entry import Entry, address_bytes
from conntrack.layout import Status, protocol_name
from conntrack.query import look
from conntrack.services import Door, Services
from conntrack.stats import OTHER, socket_text
from conntrack.wire import Reader
from kproxy.core.values import Value

_FIELDS = (
    "protocol", "original_destination", "original_destination_port", "status", "zone", "original_zone", "reply_zone",
    "original_bytes", "reply_bytes",
)  # fmt: skip
_SEEN_REPLY = int(Status.SEEN_REPLY)


class Load(Value, frozen=True):
    """One Service port, or one destination."""

    name: str
    flows: int
    unreplied: int
    new_per_s: float
    bytes_per_s: float | None
    """None where the kernel does not count (sysctl nf_conntrack_acct)."""


class Sample:
    """What the table held at one moment, by name; filled batch by batch."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reader = Reader(_FIELDS)
        self.flows: Counter[str] = Counter()
        self.unreplied: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.accounting = False

    def add(self, messages: Iterable[bytes]) -> None:
        """Count raw messages."""
        for protocol, address, port, status, *rest in self._reader.rows(messages):
            *zones, sent, answered = rest
            door = None if any(zones) else self._services.door(protocol, address, port)
            name = _name(self._services, door, protocol, address, port)
            self.flows[name] += 1
            if not (status or 0) & _SEEN_REPLY:
                self.unreplied[name] += 1
            if sent is not None:
                self.accounting = True
                self.bytes[name] += sent + (answered or 0)


def name_of(services: Services, entry: Entry) -> str:
    """Under which name a flow is counted."""
    door = look(services, entry).door
    original = entry.original
    return _name(services, door, entry.protocol, address_bytes(original.destination), original.destination_port)


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
        )
        for name, flows in now.flows.items()
    ]
    return sorted(found, key=lambda load: (-(getattr(load, SORTS[sort]) or 0), load.name))


def _rate(before: Sample | None, now: Sample, name: str, seconds: float) -> float | None:
    """Flows that ended meanwhile took their bytes with them, so this is what can be said at least."""
    if before is None or not now.accounting:
        return None
    return max(now.bytes[name] - before.bytes[name], 0) / seconds
