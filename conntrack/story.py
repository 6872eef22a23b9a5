"""What becomes of one flow: whose it is, whether its endpoint still serves, and where a new connection would go."""

from __future__ import annotations

import re
from collections.abc import Mapping

from conntrack.entry import Entry
from conntrack.query import Seen, protocol_of
from kproxy.core.decide import Decision, index_plan, judge
from kproxy.core.flow import Packet, Verdict
from kproxy.core.host import Host
from kproxy.core.plan import NodePlan
from kproxy.core.values import PROTOCOL_NUMBERS, Protocol, Value, canonical_address
from kproxy.errors import ConfigError

FORM = "write FROM[:PORT],TO:PORT/PROTO, for example 10.244.0.7,10.96.0.10:53/UDP, or the number of a flow's id"
_FLOW = re.compile(
    r"(?:(?P<bare6>[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)"
    r"|(?:\[(?P<source6>[0-9A-Fa-f:.]+)\]|(?P<source>[0-9.]+))(?::(?P<source_port>[0-9]{1,5}))?),"
    r"(?:\[(?P<to6>[0-9A-Fa-f:.]+)\]|(?P<to>[0-9.]+)):(?P<port>[0-9]{1,5})/(?P<protocol>[A-Za-z0-9]+)"
)
_PROTOCOLS: Mapping[int, Protocol] = {number: protocol for protocol, number in PROTOCOL_NUMBERS.items()}


class Named(Value, frozen=True):
    """The flows that somebody speaks of; None: any."""

    id: int | None = None
    source: str | None = None
    source_port: int | None = None
    destination: str | None = None
    port: int | None = None
    protocol: int | None = None

    def means(self, entry: Entry) -> bool:
        """Whether an entry is one of them."""
        if self.id is not None:
            return entry.id == self.id
        original = entry.original
        return (
            (original.source, original.destination, original.destination_port, entry.protocol)
            == (self.source, self.destination, self.port, self.protocol)
        ) and self.source_port in (None, original.source_port)


def parse_named(text: str) -> Named:
    """The flows that a text of `FORM` means; ConfigError if it is not of that form."""
    if text.isascii() and text.isdecimal():
        return Named(id=int(text))
    match = _FLOW.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"FLOW {text[:80]!r} is not understood: {FORM}")
    try:
        return Named(
            source=canonical_address(match["bare6"] or match["source6"] or match["source"]),
            source_port=int(match["source_port"]) if match["source_port"] else None,
            destination=canonical_address(match["to6"] or match["to"]),
            port=int(match["port"]),
            protocol=protocol_of(match["protocol"]),
        )
    except ValueError as error:
        raise ConfigError(f"FLOW {text[:80]!r} names no address: {FORM}") from error


class Renewal(Value, frozen=True):
    """What a new connection of the same client to the same place would get."""

    verdict: Verdict
    choices: int
    """Among how many endpoints it would be balanced."""
    same_possible: bool
    """Whether the flow's own endpoint is one of them."""
    affinity_s: int
    """Seconds for which the client stays with an endpoint, 0 without affinity."""

    def __str__(self) -> str:
        if self.verdict is not Verdict.DNAT:
            return {
                Verdict.REJECT: "a new connection would be refused",
                Verdict.DROP: "a new connection would be dropped",
            }.get(self.verdict, "a new connection would not be touched by Services")
        if not self.same_possible:
            return f"a new connection would go to another endpoint ({self.choices} to choose from)"
        if self.choices == 1:
            return "a new connection would go to the same endpoint, the only one"
        kept = f", and stay there for {self.affinity_s} s after its last" if self.affinity_s else ""
        return f"a new connection could go to the same endpoint, one of {self.choices}{kept}"


def renewal(seen: Seen, plans: tuple[NodePlan, ...], host: Host) -> Renewal | None:
    """What a new connection would get by the plans; None for protocols that Services do not have."""
    entry = seen.entry
    protocol, port = _PROTOCOLS.get(entry.protocol), entry.original.destination_port
    plan = next((plan for plan in plans if plan.family is entry.family), None)
    if protocol is None or port is None or plan is None:
        return None
    packet = Packet(entry.original.source, entry.original.destination, port, protocol)
    return _renewal(entry, judge(index_plan(plan), packet, host))


def _renewal(entry: Entry, decision: Decision) -> Renewal:
    choices = {(choice.address, choice.port) for choice in decision.answer.choices}
    return Renewal(
        decision.answer.verdict,
        len(choices),
        (entry.reply.source, entry.reply.source_port) in choices,
        decision.target.port.affinity_s if decision.target else 0,
    )
