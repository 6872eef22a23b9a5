"""Walk compiled (or observed) rules with one packet, as the kernel would.

nat PREROUTING (or OUTPUT, for the node's own packets), then the filter chains
that the packet's new destination leads through, then nat POSTROUTING for
each endpoint it may have got. A rule with `-m statistic` splits the packet
into two that go on with their shares of probability, so the answer is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, cast

import msgspec

from backends.iptables.matches import Rule, State, chance, parse_rule
from backends.iptables.names import FILTER, NAT
from kproxy.core.chains import ChainId
from kproxy.core.document import Document
from kproxy.core.flow import Answer, Choice, Packet, Step, Trace, Verdict
from kproxy.core.host import Host
from kproxy.core.node_facts import is_local
from kproxy.core.values import address_number, canonical_address

Chains = Mapping[ChainId, tuple[str, ...]]

EFFECTS: Final = {
    "ACCEPT": "accept",
    "DROP": "drop silently",
    "REJECT": "refuse with an error",
    "MASQUERADE": "masquerade: whoever answers sees an address of this node",
}
REFUSALS: Final = {"REJECT": Verdict.REJECT, "DROP": Verdict.DROP}


class End(NamedTuple):
    """Where a share of a packet's probability ends: by a target, or (empty) at the end of the built-in chain."""

    share: float
    target: str
    state: State


class Path(NamedTuple):
    """A share of the packet under way: its state, and which rule of which chain is next, callers first."""

    share: float
    state: State
    frames: tuple[tuple[str, int], ...]


class Walker:
    """One packet's way through one Document; keeps the steps that it takes."""

    def __init__(self, document: Document, host: Host) -> None:
        self.chains = cast("Chains", {key: rules for fragment in document.values() for key, rules in fragment.items()})
        self.host = host
        self.steps: dict[Step, None] = {}

    def walk(self, hook: ChainId, state: State) -> list[End]:
        """All ends of a packet that meets our rules in a built-in chain."""
        ends: list[End] = []
        pending = [Path(1.0, state, ((hook.chain, 0),))]
        while pending:
            path = pending.pop()
            if not path.frames:
                ends.append(End(path.share, "", path.state))
                continue
            *callers, (chain, place) = path.frames
            rules = self.chains.get(ChainId(hook.table, chain), ())
            if place >= len(rules):
                pending.append(path._replace(frames=tuple(callers)))
                continue
            rule = parse_rule(rules[place])
            likely = self._chance(ChainId(hook.table, chain), rule, path.state)
            onward = path._replace(frames=(*callers, (chain, place + 1)))
            if likely < 1:
                pending.append(onward._replace(share=path.share * (1 - likely)))
            if likely > 0:
                self._take(ChainId(hook.table, chain), rule, onward._replace(share=path.share * likely), pending, ends)
        return ends

    def _chance(self, chain: ChainId, rule: Rule, state: State) -> float:
        likely, unknown = chance(rule, state, self.host)
        if unknown:
            self._note(chain, rule, f"not understood, taken as no match: {unknown}")
        return likely

    def _take(self, chain: ChainId, rule: Rule, path: Path, pending: list[Path], ends: list[End]) -> None:
        """Do what a matching rule says."""
        target = rule.target
        try:
            state = ALTERATIONS.get(target, _unaltered)(path.state, rule)
        except (KeyError, ValueError):
            self._note(chain, rule, f"what {target} says is not understood; passed over")
            pending.append(path)
            return
        if target == "DNAT" or target in EFFECTS:
            self._note(chain, rule, _effect(rule, path.share))
            ends.append(End(path.share, target, state))
        elif target == "MARK":
            self._note(chain, rule, _effect(rule, path.share))
            pending.append(path._replace(state=state))
        elif target == "RETURN":
            self._note(chain, rule, "return to the calling chain")
            pending.append(path._replace(frames=path.frames[:-1]))
        elif ChainId(chain.table, target) in self.chains:
            self._note(chain, rule, f"go to {target}" if rule.goto else f"look through {target}")
            frames = path.frames[:-1] if rule.goto else path.frames
            pending.append(path._replace(frames=(*frames, (target, 0))))
        else:
            self._note(chain, rule, f"target {target or 'none'} is unknown here; passed over")
            pending.append(path)

    def _note(self, chain: ChainId, rule: Rule, effect: str) -> None:
        self.steps[Step(str(chain), rule.text, effect)] = None


def trace(document: Document, packet: Packet, host: Host) -> Trace:
    """What the rules of a family do with a new connection's first packet, and which rules decided."""
    walker = Walker(document, host)
    own = packet.interface is None and is_local(packet.source, host)
    ends = walker.walk(ChainId(NAT, "OUTPUT" if own else "PREROUTING"), State(packet))
    choices: list[Choice] = []
    refused, accepted, egress = None, False, False
    for end in ends:
        verdict, by_input = _filtered(walker, end.state, own=own)
        if verdict is not None:
            refused = verdict
        elif end.target == "DNAT":
            choices.append(_choice(walker, end))
        else:
            accepted |= by_input
            egress |= not is_local(packet.destination, host) and _is_masqueraded(walker, end.state)
    steps = tuple(walker.steps)
    if choices:
        return Trace(Answer(Verdict.DNAT, _merged(choices)), steps)
    return Trace(Answer(refused) if refused else Answer(Verdict.PASS, accept=accepted, egress=egress), steps)


def _filtered(walker: Walker, state: State, *, own: bool) -> tuple[Verdict | None, bool]:
    """How the filter table refuses a packet, if it does; and whether it admits it to the node."""
    arrives = is_local(state.packet.destination, walker.host)
    hooks = (["OUTPUT"] if own else []) + (["INPUT"] if arrives else [] if own else ["FORWARD"])
    accepted = False
    for hook in hooks:
        end = _likeliest(walker.walk(ChainId(FILTER, hook), state))
        if end.target in REFUSALS:
            return REFUSALS[end.target], False
        accepted = hook == "INPUT" and end.target == "ACCEPT"
    return None, accepted


def _choice(walker: Walker, end: End) -> Choice:
    """An endpoint, and whether it sees the client; a packet for the node itself is judged alike."""
    packet = end.state.packet
    return Choice(packet.destination, packet.port, end.share, _is_masqueraded(walker, end.state))


def _is_masqueraded(walker: Walker, state: State) -> bool:
    """What nat POSTROUTING does to the source."""
    return _likeliest(walker.walk(ChainId(NAT, "POSTROUTING"), state)).target == "MASQUERADE"


def _likeliest(ends: list[End]) -> End:
    """There is one end, unless somebody else put a matter of chance where we have none."""
    return max(ends, key=lambda end: end.share)


def _merged(choices: list[Choice]) -> tuple[Choice, ...]:
    """One choice for each endpoint, sorted by address number and port."""
    found: dict[tuple[int, int], Choice] = {}
    for one in choices:
        key = (address_number(one.address), one.port)
        before = found.get(key)
        share = one.probability + (before.probability if before else 0.0)
        masquerade = one.masquerade or (before is not None and before.masquerade)
        found[key] = Choice(one.address, one.port, share, masquerade)
    return tuple(found[key] for key in sorted(found))


def _translated(state: State, rule: Rule) -> State:
    address, _, port = rule.arguments["--to-destination"].rpartition(":")
    new = msgspec.structs.replace(state.packet, destination=canonical_address(address.strip("[]")), port=int(port))
    return msgspec.structs.replace(state, packet=new, connection=state.connection | {"DNAT"})


def _marked(state: State, rule: Rule) -> State:
    value, _, mask = rule.arguments["--set-xmark"].partition("/")
    return msgspec.structs.replace(state, mark=state.mark & ~int(mask, 16) ^ int(value, 16))


def _unaltered(state: State, _: Rule) -> State:
    return state


ALTERATIONS: Final[Mapping[str, Callable[[State, Rule], State]]] = {"DNAT": _translated, "MARK": _marked}


def _effect(rule: Rule, share: float) -> str:
    if rule.target == "DNAT":
        return f"DNAT to {rule.arguments['--to-destination']} ({share:.1%})"
    if rule.target == "MARK":
        return "mark for masquerading" if not rule.arguments["--set-xmark"].startswith("0x0/") else "clear the mark"
    return EFFECTS[rule.target]
