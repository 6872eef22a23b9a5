"""What the table holds, counted by Service, endpoint, protocol, state and client.

Flows are counted by their raw fields first, a whole batch at C speed (`Tally`);
only what is distinct is then named (`summarise`). A client may appear once per
flow, so clients are counted apart from the rest.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from conntrack.entry import Entry, address_bytes, address_text
from conntrack.layout import Status, protocol_name, state_name
from conntrack.services import NO_SERVICES, Door, Services
from conntrack.stale import judge
from conntrack.wire import Columns, Reader, Row
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
_CLIENT = ("original_source", "status")
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


class Tally:
    """Counts flows, batch by batch."""

    def __init__(self, *, clients: bool = True) -> None:
        self.reader = Reader(_KEY)
        self._clients = clients
        self._parts: dict[Columns, tuple[Counter[Row], Columns, Counter[Row]]] = {}
        self._single: Counter[Key] = Counter()
        self._single_clients: Counter[Row] = Counter()

    def add(self, messages: Iterable[bytes]) -> None:
        """Count raw messages."""
        for columns, joined in self.reader.groups(messages):
            part = self._parts.get(columns)
            if part is None:
                part = self._parts[columns] = (Counter(), Columns(columns.shape, _CLIENT), Counter())
            keys, client, clients = part
            keys.update(columns.unpack.iter_unpack(joined))
            if self._clients:
                clients.update(client.unpack.iter_unpack(joined))

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
        if self._clients:
            self._single_clients[address_bytes(original.source), entry.status] += 1

    def flows(self) -> Iterator[tuple[Key, int]]:
        """Every distinct key and its number of flows; a key may come more than once."""
        for columns, (keys, _, _) in self._parts.items():
            for values, flows in keys.items():
                row = columns.row(values)
                protocol, destination, port, source, source_port, status, state = row[:_BEFORE_ZONES]
                zones = row[_BEFORE_ZONES:]
                yield Key(protocol, destination, port, source, source_port, status, state, zones), flows
        yield from self._single.items()

    def clients(self) -> tuple[Counter[bytes], Counter[bytes]]:
        """Flows by packed client address, and those of them that nobody answered."""
        flows: Counter[bytes] = Counter()
        unreplied: Counter[bytes] = Counter()
        for _, columns, clients in self._parts.values():
            rows = zip(map(columns.row, clients), clients.values(), strict=True)
            for (address, status), number in rows:
                flows[address] += number
                if not (status or 0) & _SEEN_REPLY:
                    unreplied[address] += number
        for (address, status), number in self._single_clients.items():
            flows[address] += number
            if not status & _SEEN_REPLY:
                unreplied[address] += number
        return flows, unreplied


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
    clients, unreplied = tally.clients()
    first = heapq.nsmallest(top, ((-flows, address) for address, flows in clients.items()))
    return Summary(
        Count(*total),
        _ranked(groups["services"]),
        _ranked(groups["endpoints"]),
        _ranked(groups["protocols"]),
        _ranked(groups["states"]),
        _ranked({address_text(address): [-flows, unreplied[address], 0] for flows, address in first}),
        len(clients),
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
