"""kube-proxy's nf_tables table, as netlink dumps it, read as frontends (pkg/proxy/nftables, Kubernetes 1.36).

`service-ips` and `service-nodeports` lead to a Service's chains, `no-endpoint-*` to a refusal, `firewall-ips` to source
ranges. Of a rule only this is looked at: where it leads, which map it looks in, and whether it asks anything about the
packet first: such a rule is for some clients only.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from kproxy.audit.standing import At, Held, Spot, Standing, merged
from kproxy.core.values import Family, Protocol, Value
from kproxy.netlink.attributes import number, read, string, walk
from kproxy.netlink.messages import NFGENMSG, Message

SERVICES: Final = "service-ips"
NODE_PORTS: Final = "service-nodeports"
REFUSED: Final = "no-endpoint-services"
REFUSED_NODE_PORTS: Final = "no-endpoint-nodeports"
FENCED: Final = "firewall-ips"
MASQUERADES: Final = "mark-for-masquerade"
DROP: Final = 0
PROTOCOLS: Final = {one.number: one for one in Protocol}
OWNER: Final = re.compile(r"^(?:service|external|local|firewall|endpoint)-[A-Z2-7]{8}-([^/]+/[^/]+)/")
DEEPEST: Final = 8


class Lead(Value, frozen=True):
    """Where a verdict leads: its code as the kernel numbers it, and the chain of a jump or goto."""

    code: int
    chain: str


class Step(Value, frozen=True):
    """A rule of a chain."""

    lead: Lead | None
    looked_up: tuple[str, ...]
    values: tuple[bytes, ...]
    """What is put into registers: a DNAT's address and port."""
    compared: tuple[bytes, ...]
    is_dnat: bool
    asks: bool
    """Whether it asks for the source: then it is for some clients only."""
    is_negated: bool
    """Whether what it asks is answered by "not": `ip saddr != 10.64.0.0/16`."""


class Entry(Value, frozen=True):
    """An element of a map: its key, and a verdict or a value."""

    key: bytes
    lead: Lead | None
    value: bytes


class Dumped(Value, frozen=True):
    """A table: rules by chain, elements by set."""

    rules: Mapping[str, Sequence[Step]]
    elements: Mapping[str, Sequence[Entry]]


def read_nftables(family: Family, dumped: Dumped) -> Standing:
    """The frontends of a table."""
    reader = _Reader(family, dumped)
    for entry in dumped.elements.get(SERVICES, ()):
        reader.dispatch(reader.spot(entry.key, node_port=False), entry)
    for entry in dumped.elements.get(NODE_PORTS, ()):
        reader.dispatch(reader.spot(entry.key, node_port=True), entry)
    for name, node_port in ((REFUSED, False), (REFUSED_NODE_PORTS, True)):
        for entry in dumped.elements.get(name, ()):
            reader.refuse(reader.spot(entry.key, node_port=node_port), entry)
    fenced = {reader.spot(entry.key, node_port=False) for entry in dumped.elements.get(FENCED, ())}
    frontends = {spot: _fenced(held, spot, fenced) for spot, held in reader.frontends.items()}
    return Standing(frontends, tuple(reader.unread))


def _fenced(held: Held, spot: Spot, fenced: Iterable[Spot | None]) -> Held:
    if held.refusal:
        return held
    return Held(held.service, held.endpoints, "", held.masquerade, spot in fenced, held.affinity_s)


class _Reader:
    def __init__(self, family: Family, dumped: Dumped) -> None:
        self._width = family.address_bits // 8
        self._dumped = dumped
        self.frontends: dict[Spot, Held] = {}
        self.unread: list[str] = []
        self._known: dict[str, Held] = {}

    def spot(self, key: bytes, *, node_port: bool) -> Spot | None:
        """The frontend of a map's key: address (but for NodePorts), protocol and port, each in whole words."""
        address, rest = (b"", key) if node_port else (key[: self._width], key[self._width :])
        protocol = PROTOCOLS.get(rest[0]) if len(rest) == 8 else None  # noqa: PLR2004 - two words
        if protocol is None or (not node_port and len(address) != self._width):
            self.unread.append(f"element {key.hex()}")
            return None
        return Spot(str(ipaddress.ip_address(address)) if address else "", number(rest[4:6]), protocol)

    def dispatch(self, spot: Spot | None, entry: Entry) -> None:
        """An element that leads from a frontend to its chain."""
        if spot is None:
            return
        if entry.lead is None or not entry.lead.chain:
            self.unread.append(f"element {spot}")
            return
        self.frontends[spot] = merged(Held(_owner(entry.lead.chain)), self._meets(entry.lead.chain, 0))

    def refuse(self, spot: Spot | None, entry: Entry) -> None:
        """An element that refuses a frontend."""
        if spot is None or entry.lead is None:
            return
        refusal = "REJECT" if entry.lead.chain else "DROP" if entry.lead.code == DROP else ""
        known = self.frontends.get(spot, Held(""))
        self.frontends[spot] = merged(known, Held("", refusal=refusal))

    def _meets(self, chain: str, depth: int) -> Held:
        """What a stranger meets in a chain."""
        if depth > DEEPEST:
            return Held("")
        if chain not in self._known:
            held = Held("", masquerade=False, affinity_s=None)
            for step in self._dumped.rules.get(chain, ()):
                held = merged(held, self._step(step, depth))
            self._known[chain] = held
        return self._known[chain]

    def _step(self, step: Step, depth: int) -> Held:
        if step.is_dnat:
            return Held("", frozenset(self._targets(step)))
        is_for_some = step.asks and not step.is_negated
        leads = [] if step.lead is None else [step.lead]
        held = Held("")
        for lead in leads:
            if lead.chain == MASQUERADES and not is_for_some:
                held = merged(held, Held("", masquerade=True))
            elif lead.chain.startswith("endpoint-") or (lead.chain and lead.chain != MASQUERADES and not is_for_some):
                held = merged(held, self._inner(lead.chain, depth))
        for name in step.looked_up:
            for entry in self._dumped.elements.get(name, ()):
                if entry.lead is not None and entry.lead.chain.startswith("endpoint-"):
                    held = merged(held, self._inner(entry.lead.chain, depth))
        return held

    def _inner(self, chain: str, depth: int) -> Held:
        """What is behind a further chain; an endpoint's own masquerade is for itself alone."""
        inner = self._meets(chain, depth + 1)
        return Held("", inner.endpoints) if chain.startswith("endpoint-") else inner

    def _targets(self, step: Step) -> Iterator[At]:
        """Where a DNAT leads: to what it looks up, or to what it holds itself."""
        found = [entry.value for name in step.looked_up for entry in self._dumped.elements.get(name, ())]
        found += [b"".join(one.ljust(-len(one) % 4 + len(one), b"\0") for one in step.values)] if step.values else []
        for value in found:
            if len(value) == self._width + 4:
                yield str(ipaddress.ip_address(value[: self._width])), number(value[self._width : self._width + 2])
            else:
                self.unread.append(f"DNAT to {value.hex()}")


def _owner(chain: str) -> str:
    found = OWNER.match(chain)
    return found[1] if found else ""


def chain_of(message: Message) -> str:
    """The chain of a dumped rule."""
    return string(read(message.payload[NFGENMSG.size :])[2])


def table_of(message: Message) -> str:
    """The table of any dumped object."""
    return string(read(message.payload[NFGENMSG.size :]).get(1, b""))


def set_of(message: Message) -> str:
    """The name of a dumped set."""
    return string(read(message.payload[NFGENMSG.size :])[2])


def step_of(message: Message) -> Step:
    """A dumped rule, as far as it is looked at; Malformed if it is no netlink."""
    lead: Lead | None = None
    looked_up: list[str] = []
    values: list[bytes] = []
    compared: list[bytes] = []
    is_dnat = asks = is_negated = False
    for name, data in _expressions(read(message.payload[NFGENMSG.size :]).get(4, b"")):
        if name == "immediate":
            found = read(data.get(2, b""))
            lead = _lead(found[2]) if 2 in found else lead  # noqa: PLR2004 - NFTA_DATA_VERDICT
            values += [found[1]] if 1 in found else []
        elif name == "lookup":
            looked_up.append(string(data.get(1, b"")))
        elif name == "nat":
            is_dnat = number(data.get(1, b"")) == 1
        elif name == "cmp":
            is_negated = number(data.get(2, b"")) == 1
            compared.append(read(data.get(3, b"")).get(1, b""))
        asks = asks or _is_about_source(name, data)
    return Step(lead, tuple(looked_up), tuple(values), tuple(compared), is_dnat, asks, is_negated)


def _is_about_source(name: str, data: Mapping[int, bytes]) -> bool:
    """Whether an expression loads something of the client: its address, its interface, or whether it is this node."""
    if name == "payload":  # saddr: offset 12 or 8 of the network header
        return number(data.get(2, b"")) == 1 and number(data.get(3, b"")) in (12, 8) and number(data.get(4, b"")) > 1
    if name == "meta":
        return number(data.get(2, b"")) in (4, 6)  # NFT_META_IIF, NFT_META_IIFNAME
    return name == "fib"


def _expressions(payload: bytes) -> Iterator[tuple[str, Mapping[int, bytes]]]:
    for _, one in walk(payload):
        expression = read(one)
        yield string(expression.get(1, b"")), read(expression.get(2, b""))


def entries_of(message: Message) -> Iterator[Entry]:
    """The elements in a message of a dump of a set."""
    for _, one in walk(read(message.payload[NFGENMSG.size :]).get(3, b"")):
        element = read(one)
        data = read(element.get(2, b""))
        lead = _lead(data[2]) if 2 in data else None  # noqa: PLR2004 - NFTA_DATA_VERDICT
        yield Entry(read(element.get(1, b"")).get(1, b""), lead, data.get(1, b""))


def _lead(payload: bytes) -> Lead:
    verdict = read(payload)
    return Lead(int.from_bytes(verdict.get(1, b""), "big", signed=True), string(verdict.get(2, b"")))
