"""What the table holds, counted by Service, endpoint, protocol, state and client.

Flows are counted by their raw fields first, a whole batch at C speed (`Tally`);
only what is distinct is then named (`summarise`). A client may appear once per
flow, so clients are counted apart from the rest.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from typing import NamedTuple

from conntrack.entry import Entry, address_bytes, address_text
from conntrack.layout import Status, protocol_name, state_name
from conntrack.services import NO_SERVICES, Door, Services
from conntrack.stale import judge
from conntrack.wire import Columns, Reader, Words, bytes_words, words_bytes
from kproxy.core.values import Value

OTHER = "(no Service)"
"""The group of flows that went to no Service, where Services are known."""


class Key(NamedTuple):
    """What flows have in common that are counted together; addresses are packed, absent values None."""

    protocol: int
    destination: bytes
    port: int | None
    source: bytes
    """What answers: the reply tuple's source."""
    source_port: int | None
    status: int | None
    state: int | None
    zoned: tuple[int | None, ...] = ()


_KEY = (
    "protocol", "original_destination", "original_destination_port", "reply_source", "reply_source_port",
    "status", "state", "zone", "original_zone", "reply_zone",
)  # fmt: skip
_BEFORE_ZONES = 7
_SEEN_REPLY, _ASSURED = int(Status.SEEN_REPLY), int(Status.ASSURED)
"""As plain numbers: an IntFlag takes a microsecond per question."""


class Count(Value, frozen=True):
    """Numbers of flows; `unreplied` and `stale` are parts of `flows`."""

    flows: int = 0
    unreplied: int = 0
    stale: int = 0


Groups = Mapping[str, Count]
"""By name, most flows first."""


class Summary(Value, frozen=True):
    """A table, counted."""

    total: Count
    services: Groups
    """`namespace/name:port`; `10.96.0.1:80/tcp` where no Services are known."""
    endpoints: Groups
    """`10.244.1.7:8080/tcp`: what answers flows that went to a Service, or were translated."""
    protocols: Groups
    states: Groups
    """`tcp ESTABLISHED`, `udp ASSURED`, `udp UNREPLIED`."""
    clients: Groups
    """By address, the first `top` of them; `stale` is not known here."""
    distinct_clients: int


class _Part(NamedTuple):
    """The flows of one shape."""

    columns: Columns
    keys: Counter[Words]
    client: Columns
    status: Columns


class Tally:
    """Counts flows, batch by batch."""

    def __init__(self, *, clients: bool = True) -> None:
        self.reader = Reader(_KEY)
        self._with_clients = clients
        self._parts: dict[Columns, _Part] = {}
        self._single: Counter[Key] = Counter()
        self._clients: Counter[Words] = Counter()
        self._unreplied: Counter[Words] = Counter()

    def add(self, messages: Iterable[bytes]) -> None:
        """Count raw messages."""
        for columns, joined in self.reader.groups(messages):
            part = self._parts.get(columns)
            if part is None:
                shape = columns.shape
                part = _Part(columns, Counter(), Columns(shape, ("original_source",)), Columns(shape, ("status",)))
                self._parts[columns] = part
            part.keys.update(columns.keys(joined))
            if self._with_clients:
                self._count_clients(part, joined)

    def _count_clients(self, part: _Part, joined: bytes) -> None:
        """An address has the same words in every shape; which statuses are unreplied is asked once for each."""
        clients, statuses = list(part.client.keys(joined)), list(part.status.keys(joined))
        self._clients.update(clients)
        silent = {words for words in set(statuses) if not (part.status.row_of(words)[0] or 0) & _SEEN_REPLY}
        if silent:
            self._unreplied.update(compress(clients, map(silent.__contains__, statuses)))

    def add_entry(self, entry: Entry) -> None:
        """Count one flow that was decoded for another purpose."""
        original, reply = entry.original, entry.reply
        self._single[
            Key(
                entry.protocol,
                address_bytes(original.destination),
                original.destination_port,
                address_bytes(reply.source),
                reply.source_port,
                entry.status,
                entry.state,
                (entry.zone, original.zone, reply.zone),
            )
        ] += 1
        if self._with_clients:
            client = bytes_words(address_bytes(original.source))
            self._clients[client] += 1
            self._unreplied[client] += not entry.replied

    def flows(self) -> Iterator[tuple[Key, int]]:
        """Every distinct key and its number of flows; a key may come more than once."""
        for part in self._parts.values():
            for words, flows in part.keys.items():
                row = part.columns.row_of(words)
                protocol, destination, port, source, source_port, status, state = row[:_BEFORE_ZONES]
                zones = row[_BEFORE_ZONES:]
                yield Key(protocol, destination, port, source, source_port, status, state, zones), flows
        yield from self._single.items()

    def clients(self, most: int) -> Groups:
        """The addresses that began the most flows, so many of them at most."""
        flows = ((-number, words_bytes(words), words) for words, number in self._clients.items())
        first = heapq.nsmallest(most, flows)
        return {address_text(address): Count(-number, self._unreplied[words]) for number, address, words in first}

    @property
    def distinct_clients(self) -> int:
        """How many addresses began flows."""
        return len(self._clients)


def summarise(tally: Tally, services: Services = NO_SERVICES, top: int = 1000) -> Summary:
    """Name what was counted. Without Services, plain addresses are the names."""
    total = [0, 0, 0]
    groups: dict[str, dict[str, list[int]]] = {name: {} for name in ("services", "endpoints", "protocols", "states")}
    named = bool(services.made_of)
    for key, flows in tally.flows():
        door = None if any(key.zoned) else services.door(key.protocol, key.destination, key.port)
        status = key.status or 0
        counts = (flows, 0 if status & _SEEN_REPLY else flows, flows if _is_stale(door, key) else 0)
        _add(total, counts)
        for group, name in _names(key, door, named=named):
            _add(groups[group].setdefault(name, [0, 0, 0]), counts)
    return Summary(
        Count(*total),
        _ranked(groups["services"]),
        _ranked(groups["endpoints"]),
        _ranked(groups["protocols"]),
        _ranked(groups["states"]),
        tally.clients(top),
        tally.distinct_clients,
    )


def _names(key: Key, door: Door | None, *, named: bool) -> Iterator[tuple[str, str]]:
    protocol = protocol_name(key.protocol)
    state = state_name(key.protocol, key.state) or _progress(key.status or 0)
    yield "protocols", protocol
    yield "states", f"{protocol} {state}"
    service = str(door) if door else OTHER if named else socket_text(key.destination, key.port, protocol)
    yield "services", service
    if door or (key.destination, key.port) != (key.source, key.source_port):
        yield "endpoints", socket_text(key.source, key.source_port, protocol)


def _progress(status: int) -> str:
    if not status & _SEEN_REPLY:
        return "UNREPLIED"
    return "ASSURED" if status & _ASSURED else "REPLIED"


def _is_stale(door: Door | None, key: Key) -> bool:
    if door is None or key.port is None:
        return False
    source = (key.source, key.source_port or 0)
    return judge(door, (key.destination, key.port), source, key.protocol, key.status or 0) is not None


def socket_text(address: bytes, port: int | None, protocol: str) -> str:
    """`10.96.0.1:80/tcp`, `[fd00::1]:80/tcp`, `10.96.0.1/icmp` where there is no port."""
    text = address_text(address)
    if port is None:
        return f"{text}/{protocol}"
    return f"[{text}]:{port}/{protocol}" if ":" in text else f"{text}:{port}/{protocol}"


def _add(to: list[int], counts: tuple[int, int, int]) -> None:
    flows, unreplied, stale = counts
    to[0] += flows
    to[1] += unreplied
    to[2] += stale


def _ranked(names: Mapping[str, list[int]]) -> Groups:
    ordered = sorted(names.items(), key=lambda item: (-item[1][0], item[0]))
    return {name: Count(*counts) for name, counts in ordered}
