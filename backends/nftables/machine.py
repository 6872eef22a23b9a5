"""The kernel's rule machine, for the first packet of a connection: rules, registers, sets, chains.

A random number is not drawn: where one decides, every outcome is followed with
its probability, so the result is exact. Dynamic sets are empty (this is a
client's first connection). What is not ours (`Opaque`, a header that we never
load) matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final

import msgspec

from backends.nftables import expressions as ex
from backends.nftables.encode import padded
from backends.nftables.expressions import Code, Expression
from backends.nftables.instructions import CERTAIN, RUN, End, Facts, Outcome, Registers
from backends.nftables.layout import WORDS, standard_set
from backends.nftables.objects import TABLE_NAME, Chain, Element, Rule, key_of, name_of
from backends.nftables.rule_text import rule_text
from backends.nftables.rules import host32
from backends.nftables.text import element_text
from kproxy.core.document import Document
from kproxy.core.flow import Step, Verdict
from kproxy.core.host import Host
from kproxy.core.values import Family


class Machine:
    """A Document, ready to be walked by packets of its family."""

    def __init__(self, family: Family, document: Document, host: Host, table: str = TABLE_NAME) -> None:
        self.family = family
        self.table = f"{WORDS[family].name} {table}"
        self.words = WORDS[family]
        self.host = host
        self._chains: dict[str, Sequence[Rule]] = {}
        self._elements: dict[str, dict[bytes, Element]] = {}
        objects = (item for fragment in document.values() for item in fragment.items())
        for key, content in objects:
            if isinstance(content, Chain):
                self._chains[name_of(key)] = content.rules
            elif isinstance(key, bytes) and isinstance(content, Element):
                self._elements.setdefault(name_of(key), {})[key_of(key)] = content

    def walk(self, chain: str, facts: Facts, start: int = 0) -> Iterator[End]:
        """Every way through a chain from a rule on; a chain that does not exist has no rules."""
        rules = self._chains.get(chain, ())
        for position in range(start, len(rules)):
            outcomes = self._outcomes(chain, rules[position], facts)
            if len(outcomes) > 1 or outcomes[0].verdict is not None:
                for outcome in outcomes:
                    for end in self._follow(chain, position, outcome):
                        yield End(outcome.probability * end.probability, end.verdict, end.facts)
                return
            facts = outcomes[0].facts
        yield End(CERTAIN, None, facts)

    def _follow(self, chain: str, position: int, outcome: Outcome) -> Iterator[End]:
        verdict, facts = outcome.verdict, outcome.facts
        if verdict is None:
            yield from self.walk(chain, facts, position + 1)
        elif isinstance(verdict, Verdict):
            yield End(CERTAIN, verdict, facts)
        elif verdict.code in FINAL:
            yield End(CERTAIN, FINAL[verdict.code], facts)
        else:
            for end in self.walk(verdict.chain, facts):
                if end.verdict is None and verdict.code is Code.JUMP:
                    for later in self.walk(chain, end.facts, position + 1):
                        yield End(end.probability * later.probability, later.verdict, later.facts)
                else:
                    yield end

    def _outcomes(self, chain: str, rule: Rule, facts: Facts) -> list[Outcome]:
        """What a rule does; outcomes that are the same are one, so that misses do not multiply."""
        chances: dict[tuple[ex.Jump | Verdict | None, Facts], Fraction] = {}
        for outcome in self._run(rule, 0, {}, facts, CERTAIN):
            key = (outcome.verdict, outcome.facts)
            chances[key] = chances.get(key, Fraction(0)) + outcome.probability
        return [
            Outcome(chance, verdict, self._with_step(chain, rule, facts, Outcome(chance, verdict, after)))
            for (verdict, after), chance in chances.items()
        ]

    def _run(self, rule: Rule, start: int, registers: Registers, facts: Facts, chance: Fraction) -> Iterator[Outcome]:
        for position in range(start, len(rule)):
            expression = rule[position]
            word, modulus = self._undrawn(expression, registers)
            if modulus:
                for number in range(modulus):
                    yield from self._run(rule, position, registers | {word: host32(number)}, facts, chance / modulus)
                return
            result = RUN[type(expression)](self, expression, registers, facts)
            if not isinstance(result, Facts):
                yield Outcome(chance, result.verdict, result.facts) if result else Outcome(chance, None, facts)
                return
            facts = result
        yield Outcome(chance, None, facts)

    def _undrawn(self, expression: Expression, registers: Registers) -> tuple[int, int]:
        """The word and modulus of a random number that this expression reads; (0, 0) if it reads none."""
        if isinstance(expression, ex.Lookup | ex.Compare):
            for word, value in registers.items():
                if word >= expression.word and isinstance(value, int):
                    return word, value
        return 0, 0

    def find(self, name: str, key: bytes) -> Element | None:
        """The element of a set that holds the key."""
        elements = self._elements.get(name, {})
        own = standard_set(self.family, name)
        if own is None or not own.interval:
            return elements.get(key)
        half = len(key)
        return next((element for at, element in elements.items() if at[:half] <= key <= at[half:]), None)

    def key(self, name: str, word: int, registers: Registers) -> bytes:
        """As many bytes from a word on as the set's key has."""
        own = standard_set(self.family, name)
        length = padded(own.key) if own else 0
        parts = b""
        while len(parts) < length:
            value = registers.get(word, b"")
            part = value if isinstance(value, bytes) else b""
            parts += part.ljust(max(4, (len(part) + 3) & ~3), b"\0")
            word = word + max(1, (len(part) + 3) // 4)
        return parts[:length]

    def element_step(self, name: str, key: bytes, element: Element) -> Step:
        """A step that shows a found element."""
        own = standard_set(self.family, name)
        text = element_text(own, key, element) if own else key.hex()
        return Step(f"{self.table} {name}", text, f"found {element.comment}")

    def _with_step(self, chain: str, rule: Rule, before: Facts, outcome: Outcome) -> Facts:
        """The facts with a step for what the rule did, if it did anything."""
        effects = list(_effects(self, before, outcome))
        if not effects:
            return outcome.facts
        step = Step(f"{self.table} {chain}", rule_text(self.family, rule), ", ".join(effects))
        return msgspec.structs.replace(outcome.facts, steps=(*outcome.facts.steps, step))


FINAL: Final[Mapping[Code, Verdict | None]] = {Code.DROP: Verdict.DROP, Code.ACCEPT: Verdict.PASS, Code.RETURN: None}


def _effects(machine: Machine, before: Facts, outcome: Outcome) -> Iterator[str]:
    after, verdict = outcome.facts, outcome.verdict
    if after.mark & ~before.mark:
        yield "mark to be masqueraded"
    if after.is_masqueraded and not before.is_masqueraded:
        yield "masquerade"
    if verdict is Verdict.DNAT:
        port = after.packet.port
        address = f"[{after.packet.destination}]" if machine.family is Family.IPV6 else after.packet.destination
        chance = "" if outcome.probability == 1 else f" ({outcome.probability})"
        yield f"DNAT to {address}:{port}{chance}"
    elif isinstance(verdict, ex.Jump):
        yield f"{verdict.code.name.lower()} {verdict.chain}".strip()
    elif verdict in (Verdict.DROP, Verdict.REJECT):
        yield verdict.lower()
