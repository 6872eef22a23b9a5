"""From what `iptables-save` prints (or `render` wrote) back to a Document, of our chains and jumps only."""

from __future__ import annotations

import re
from typing import Final

from backends.iptables.names import HOOKS, PREFIX, ChainId, is_ours
from kproxy.core.document import Content, Document, ObjectId

OBSERVED: Final = "kernel"
"""The owner of everything that was read back: a rule does not say whose it is."""

BUILT_IN: Final = frozenset(hook.chain for hook in HOOKS)
OUR_JUMP: Final = re.compile(rf"(?:^| )-[jg] {PREFIX}[^ ]+$")


def parse(text: str) -> Document:
    """The Document that a text in iptables-save's or iptables-restore's format describes.

    Foreign chains are left out; of a built-in chain, only rules that jump to a
    chain of ours are kept.
    """
    chains: dict[ObjectId, list[str]] = {}
    table = ""
    for line in text.splitlines():
        verb, _, rest = line.partition(" ")
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(f":{PREFIX}"):
            chains[ChainId(table, verb[1:])] = []
        elif verb in ("-A", "-I"):
            chain, _, rule = rest.partition(" ")
            if is_ours(chain):
                chains.setdefault(ChainId(table, chain), []).append(rule)
            elif chain in BUILT_IN and OUR_JUMP.search(rule):
                jumps = chains.setdefault(ChainId(table, chain), [])
                jumps.insert(0 if verb == "-I" else len(jumps), rule)
    contents: dict[ObjectId, Content] = {key: tuple(rules) for key, rules in chains.items()}
    return {OBSERVED: contents} if contents else {}
