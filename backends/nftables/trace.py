"""What the rules of a Document do with a connection's first packet, hook by hook.

A packet of the node itself begins in `output`, any other in `prerouting`. A
packet that leaves goes on to `unallocated`, and to `postrouting`, where
masquerade is decided; one that stays with the node goes to `input`, where
NodePorts are refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from backends.nftables.instructions import CERTAIN, End, Facts
from backends.nftables.layout import INPUT, OUTPUT, POSTROUTING, PREROUTING, UNALLOCATED
from backends.nftables.machine import Machine
from backends.nftables.objects import TABLE_NAME
from kproxy.core.document import Document
from kproxy.core.flow import Answer, Choice, Packet, Step, Trace, Verdict
from kproxy.core.host import Host
from kproxy.core.node_facts import is_local
from kproxy.core.values import Family, address_number


def trace(family: Family, document: Document, packet: Packet, host: Host, table: str = TABLE_NAME) -> Trace:
    """The answer with every rule and element that had a part in it."""
    return trace_with(Machine(family, document, host, table), packet)


def trace_with(machine: Machine, packet: Packet) -> Trace:
    """Like `trace`, for many packets over one Document."""
    hook = OUTPUT if is_local(packet.source, machine.host) else PREROUTING
    ends = [
        End(first.probability * last.probability, last.verdict, last.facts)
        for first in machine.walk(hook, Facts(packet))
        for last in _further(machine, first)
    ]
    # Ways that part are shown side by side: all endpoints, then what happens behind them.
    columns = itertools.zip_longest(*(end.facts.steps for end in ends))
    steps: dict[Step, None] = {step: None for column in columns for step in column if step is not None}
    return Trace(_answer(ends), tuple(steps))


def _further(machine: Machine, end: End) -> Iterator[End]:
    """The hooks after the first one; `verdict` stays DNAT for what was translated."""
    if end.verdict is Verdict.DNAT:
        for last in machine.walk(POSTROUTING, end.facts):
            yield End(last.probability, Verdict.DNAT, last.facts)
    elif end.verdict in (None, Verdict.PASS) and is_local(end.facts.packet.destination, machine.host):
        yield from machine.walk(INPUT, end.facts)
    elif end.verdict in (None, Verdict.PASS):
        for known in machine.walk(UNALLOCATED, end.facts):
            if known.verdict in (None, Verdict.PASS):
                yield from machine.walk(POSTROUTING, known.facts)
            else:
                yield known
    else:
        yield End(CERTAIN, end.verdict, end.facts)


def _answer(ends: list[End]) -> Answer:
    refusal = next((end.verdict for end in ends if end.verdict in (Verdict.DROP, Verdict.REJECT)), None)
    if refusal is not None:
        return Answer(refusal)
    choices = [
        Choice(end.facts.packet.destination, end.facts.packet.port, float(end.probability), end.facts.is_masqueraded)
        for end in ends
        if end.verdict is Verdict.DNAT
    ]
    if not choices:
        return Answer(Verdict.PASS, egress=any(end.facts.is_masqueraded for end in ends))
    return Answer(Verdict.DNAT, tuple(sorted(choices, key=lambda one: (address_number(one.address), one.port))))
