"""What is wrong with a table of connections, each finding with how bad it is and what to do."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from conntrack.counters import HARMFUL, MEANINGS, CpuCounters, Limits
from conntrack.entry import address_text
from conntrack.layout import TCP, Status, protocol_name
from conntrack.services import Door, Services
from conntrack.stale import Reason, judge
from conntrack.stats import Tally, socket_text
from conntrack.wire import Columns, Reader, Words
from kproxy.core.values import Value

SOURCE_PORTS = 65536 - 1024
"""What masquerading may use for one destination and one address of its own (nf_nat_core: from 1024 up)."""
NEARLY_FULL, FULL = 0.8, 0.95
"""Shares of the table, and of the source ports, that are worth a warning and an error."""


class Severity(enum.StrEnum):
    """How bad a finding is: connections fail now, or are about to or hang."""

    ERROR = "error"
    WARNING = "warning"


class Finding(Value, frozen=True):
    """Something that is wrong."""

    severity: Severity
    kind: str
    """A word for programs: stale, not-translated, dead-endpoint, source-ports, table, counter."""
    what: str
    remedy: str
    service: str = ""
    flows: int = 0


_STALE: Mapping[Reason, tuple[str, str]] = {
    Reason.NO_ENDPOINTS: ("stale", "kproxy conntrack flush --stale; then see why the Service has no endpoints"),
    Reason.NOT_SERVING: ("stale", "kproxy conntrack flush --stale: the clients' next datagrams go to a live endpoint"),
    Reason.NOT_TRANSLATED: (
        "not-translated",
        "kproxy conntrack flush --stale: they were sent before the rules existed",
    ),
}
_DEAD = (
    "dead-endpoint",
    "the clients hang until they time out: flush them, or annotate the Service kproxy.io/tcp-drain-seconds",
)


class Pressure:
    """Counts how many source ports masquerading uses for each destination, batch by batch."""

    _FIELDS = ("protocol", "reply_source", "reply_source_port", "reply_destination", "status")

    def __init__(self) -> None:
        self._reader = Reader(self._FIELDS)
        self._parts: dict[Columns, Counter[Words]] = {}

    def add(self, messages: Iterable[bytes]) -> None:
        """Count raw messages."""
        for columns, joined in self._reader.groups(messages):
            self._parts.setdefault(columns, Counter()).update(columns.keys(joined))

    def destinations(self) -> Counter[tuple[int, bytes, int | None, bytes]]:
        """Flows with a translated source by protocol, destination address and port, and the address that is used."""
        counts: Counter[tuple[int, bytes, int | None, bytes]] = Counter()
        for columns, keys in self._parts.items():
            for key, flows in keys.items():
                protocol, address, port, own, status = columns.row_of(key)
                if (status or 0) & _SRC_NAT:
                    counts[protocol, address, port, own] += flows
        return counts


_SRC_NAT = int(Status.SRC_NAT)


def stale_flows(tally: Tally, services: Services) -> Iterator[Finding]:
    """Flows to Services that no serving endpoint answers, by Service port and reason."""
    counts: Counter[tuple[Door, Reason, bool]] = Counter()
    for key, flows in tally.flows():
        door = None if any(key.zoned) else services.door(key.protocol, key.destination, key.port)
        if door is not None and key.port is not None:
            source = (key.source, key.source_port or 0)
            reason = judge(door, (key.destination, key.port), source, key.protocol, key.status or 0)
            if reason is not None:
                drains = key.protocol == TCP and reason is not Reason.NOT_TRANSLATED
                counts[door, reason, drains] += flows
    for (door, reason, drains), flows in counts.items():
        kind, remedy = _DEAD if drains else _STALE[reason]
        severity = Severity.WARNING if drains else Severity.ERROR
        what = f"{flows} {door.protocol} flows to {door}: {reason}"
        yield Finding(severity, kind, what, remedy, str(door.service), flows)


Destination = tuple[int, bytes, int | None]
"""Protocol number, packed address, port."""


def source_ports(pressure: Pressure, towards: Collection[Destination] | None = None) -> Iterator[Finding]:
    """Destinations for which masquerading runs out of source ports; only these, where `towards` names some."""
    for (protocol, address, port, own), flows in pressure.destinations().items():
        wanted = towards is None or (protocol, address, port) in towards
        if wanted and flows >= NEARLY_FULL * SOURCE_PORTS:
            to = socket_text(address, port, protocol_name(protocol))
            yield Finding(
                Severity.ERROR if flows >= FULL * SOURCE_PORTS else Severity.WARNING,
                "source-ports",
                f"{flows} of {SOURCE_PORTS} source ports of {address_text(own)} are in use towards {to}",
                "new connections will fail: keep connections open longer, or spread them over more node addresses",
                flows=flows,
            )


def full_table(limits: Limits) -> Iterator[Finding]:
    """A table that is full, or nearly."""
    if limits.usage >= NEARLY_FULL:
        yield Finding(
            Severity.ERROR if limits.usage >= FULL else Severity.WARNING,
            "table",
            f"the table holds {limits.entries} of {limits.maximum} flows ({limits.usage:.0%})",
            "raise net.netfilter.nf_conntrack_max (kube-proxy's conntrack.maxPerCore), or see who fills it: "
            "kproxy conntrack stats --by client",
            flows=limits.entries,
        )


def growing_counters(before: CpuCounters, after: CpuCounters) -> Iterator[Finding]:
    """Harmful counters that grew between two looks."""
    for name in HARMFUL:
        grown = after.get(name, 0) - before.get(name, 0)
        if grown > 0:
            yield Finding(Severity.ERROR, "counter", f"{name} grew by {grown} while this was looked at", MEANINGS[name])


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """The worst and largest first."""
    return sorted(findings, key=lambda one: (one.severity is not Severity.ERROR, -one.flows, one.what))
