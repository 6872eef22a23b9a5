"""Chains as input for `iptables-restore --noflush`, and back from `iptables-save`.

Chains of ours are named, and so emptied and written anew; our jumps go to the
head of the built-in chains, which are never named, for that would set their policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from backends.ipvs.names import FILTER, HOOKS, MANGLE, NAT, PREFIX, is_ours
from backends.ipvs.objects import ChainId

Rules = tuple[str, ...]
Edits = Mapping[ChainId, tuple[Rules | None, Rules | None]]
"""The rules of each chain before and after; None: no chain."""

TABLES: Final = (MANGLE, NAT, FILTER)
BUILT_IN: Final = frozenset(hook.chain for hook in HOOKS)
OUR_JUMP: Final = re.compile(rf"(?:^| )-[jg] {PREFIX}[^ ]+$")


def restore_input(edits: Edits) -> str:
    """The text that makes these edits; empty if there are none."""
    return "".join(
        f"{line}\n"
        for table in TABLES
        if any(chain.table == table for chain in edits)
        for line in _section(table, {chain: edit for chain, edit in edits.items() if chain.table == table})
    )


def _section(table: str, edits: Edits) -> Iterable[str]:
    own = [(chain.chain, old, new) for chain, (old, new) in edits.items() if is_ours(chain.chain)]
    built_in = [(chain.chain, old, new) for chain, (old, new) in edits.items() if not is_ours(chain.chain)]
    yield f"*{table}"
    yield from (f":{chain} - [0:0]" for chain, _, _ in own)
    yield from (f"-D {chain} {rule}" for chain, old, _ in built_in for rule in old or ())
    yield from (f"-A {chain} {rule}" for chain, _, new in own for rule in new or ())
    yield from (f"-I {chain} {rule}" for chain, _, new in built_in for rule in reversed(new or ()))
    yield from (f"-X {chain}" for chain, _, new in own if new is None)
    yield "COMMIT"


def parse_chains(text: str) -> dict[ChainId, Rules]:
    """Our chains and jumps in what iptables-save printed."""
    found: dict[ChainId, list[str]] = {}
    table = ""
    for line in text.splitlines():
        verb, _, rest = line.partition(" ")
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(f":{PREFIX}"):
            found[ChainId(table, verb[1:])] = []
        elif verb in ("-A", "-I"):
            chain, _, rule = rest.partition(" ")
            if is_ours(chain):
                found.setdefault(ChainId(table, chain), []).append(rule)
            elif chain in BUILT_IN and OUR_JUMP.search(rule):
                jumps = found.setdefault(ChainId(table, chain), [])
                jumps.insert(0 if verb == "-I" else len(jumps), rule)
    return {chain: tuple(rules) for chain, rules in found.items()}
