"""Walk rules, sets and virtual servers with one packet, as the kernel would.

mangle gives the mark or drops; IPVS looks for a virtual server by mark, then by
address; where there is none, filter INPUT has the last word. Persistence is not
considered: this is a client's first connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from backends.ipvs.names import FILTER, MANGLE, NAT
from backends.ipvs.objects import Balance, Mark, Real, Server
from backends.ipvs.rules import Lookup, Rule, State, parse_rule
from kproxy.core.chains import ChainId
from kproxy.core.document import Content, Document, ObjectId
from kproxy.core.flow import Answer, Choice, Packet, Step, Trace, Verdict
from kproxy.core.host import Host
from kproxy.core.node_facts import is_local
from kproxy.core.values import Family, address_number

REFUSALS: Final = {"REJECT": Verdict.REJECT, "DROP": Verdict.DROP}
EFFECTS: Final = {
    "REJECT": "refuse with an error",
    "DROP": "drop silently",
    "MASQUERADE": "masquerade: whoever answers sees an address of this node",
    "ACCEPT": "accept",
}


class End(NamedTuple):
    """Where a packet's way through a hook ends: by a target, or (empty) at the end of the built-in chain."""

    target: str
    state: State


class Walker:
    """One packet's way through one Document; keeps the steps that it takes."""

    def __init__(self, family: Family, document: Document, host: Host) -> None:
        self.objects: Mapping[ObjectId, Content] = {
            key: content for fragment in document.values() for key, content in fragment.items()
        }
        self.lookup = Lookup(family, self.objects, host)
        self.steps: list[Step] = []

    def walk(self, hook: ChainId, state: State) -> End:
        """A packet that meets our rules in a built-in chain."""
        frames: list[tuple[str, int]] = [(hook.chain, 0)]
        while frames:
            chain, place = frames.pop()
            rules = cast("tuple[str, ...]", self.objects.get(ChainId(hook.table, chain), ()))
            if place >= len(rules):
                continue
            frames.append((chain, place + 1))
            rule = parse_rule(rules[place])
            if not self.lookup.matches(rule, state):
                continue
            where = f"{hook.table} {chain}"
            if rule.target in EFFECTS:
                self._note(where, rule, EFFECTS[rule.target])
                return End(rule.target, state)
            if rule.target == "SET":
                state = self._map(where, rule, state)
            elif rule.target == "MARK":
                self._note(where, rule, "clear the mark")
            elif rule.target == "RETURN":
                self._note(where, rule, "return to the calling chain")
                frames.pop()
            else:
                if rule.goto:
                    frames.pop()
                frames.append((rule.target, 0))
        return End("", state)

    def _map(self, where: str, rule: Rule, state: State) -> State:
        found = self.lookup.member(rule.arguments["--map-set"].split()[0], "dst,dst", state)
        if found is None:
            return state
        mark = cast("Mark", self.objects[found])
        value = state.mark & ~mark.mask ^ mark.value
        if value != state.mark:
            self.steps.append(Step(where, f"{rule.text} ({found})", f"mark {value:#x}"))
        return state._replace(mark=value)

    def _note(self, where: str, rule: Rule, effect: str) -> None:
        self.steps.append(Step(where, rule.text, effect))


def trace(family: Family, document: Document, packet: Packet, host: Host) -> Trace:
    """What is done with a new connection's first packet, and what decided it."""
    walker = Walker(family, document, host)
    own = packet.interface is None and is_local(packet.source, host)
    end = walker.walk(ChainId(MANGLE, "OUTPUT" if own else "PREROUTING"), State(packet, 0))
    if end.target == "DROP":
        return Trace(Answer(Verdict.DROP), tuple(walker.steps))
    arrives = is_local(packet.destination, host) or walker.lookup.is_vip(packet.destination)
    server = _server(walker, end.state) if arrives else None
    if server is not None and not own:
        refused = walker.walk(ChainId(FILTER, "INPUT"), end.state)
        if refused.target in REFUSALS:
            return Trace(Answer(REFUSALS[refused.target]), tuple(walker.steps))
    if server is None:
        last = walker.walk(ChainId(FILTER, "INPUT") if arrives else ChainId(NAT, "POSTROUTING"), end.state)
        verdict = REFUSALS.get(last.target, Verdict.PASS)
        answer = Answer(verdict, accept=last.target == "ACCEPT", egress=last.target == "MASQUERADE")
        return Trace(answer, tuple(walker.steps))
    choices = _choices(walker, server, end.state)
    return Trace(Answer(Verdict.DNAT, choices), tuple(walker.steps))


def _server(walker: Walker, state: State) -> Server | None:
    """The virtual server that IPVS finds: by the whole mark first, then by protocol, address and port."""
    by_mark = Server(None, "", 0, state.mark)
    if state.mark and by_mark in walker.objects:
        return by_mark
    packet = state.packet
    by_address = Server(packet.protocol, packet.destination, packet.port)
    return by_address if by_address in walker.objects else None


def _choices(walker: Walker, server: Server, state: State) -> tuple[Choice, ...]:
    weights = {
        key: cast("int", content)
        for key, content in walker.objects.items()
        if isinstance(key, Real) and key.server == server and cast("int", content) > 0
    }
    total = sum(weights.values())
    scheduler = cast("Balance", walker.objects[server]).scheduler
    choices = []
    for real in sorted(weights, key=lambda one: (address_number(one.address), one.port)):
        walker.steps.append(Step("IPVS", str(real), f"to this one of {len(weights)} ({scheduler})"))
        packet = _sent(state.packet, real)
        last = walker.walk(ChainId(NAT, "POSTROUTING"), State(packet, state.mark, balanced=True))
        choices.append(Choice(real.address, real.port, weights[real] / total, last.target == "MASQUERADE"))
    return tuple(choices)


def _sent(packet: Packet, real: Real) -> Packet:
    return Packet(packet.source, real.address, real.port, packet.protocol, packet.interface)
