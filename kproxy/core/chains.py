"""Chains of ours in the words of iptables-save and iptables-restore, read and written.

A chain of ours is known by its name, and a jump of ours by where it leads.
Chains are written by naming them, and so emptied and filled anew; our jumps go
to the head of the built-in chains, which are never named, for that would set
their policy. Nothing else is ever read as ours, changed or removed.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias, cast

from kproxy.core.document import Change, Content, Fragment, ObjectId
from kproxy.core.values import Network, Value, address_number

PREFIX: Final = "KPROXY-"
IPVS_PREFIX: Final = f"{PREFIX}IPVS-"
"""The IPVS backend's chains, so that they and the iptables backend's can stand side by side."""
BUILT_IN: Final = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})
OUR_JUMP: Final = re.compile(rf"(?:^| )-[jg] ({PREFIX}[^ ]+)$")

Rules: TypeAlias = tuple[str, ...]


class ChainId(NamedTuple):
    """The identity of a chain; for a built-in one: of our jumps in it."""

    table: str
    chain: str

    def __str__(self) -> str:
        return f"{self.table} {self.chain}"


class Edit(Value, frozen=True):
    """The rules of a chain before and after; None: no chain. For a built-in chain: our jumps in it."""

    old: Rules | None
    new: Rules | None


Edits: TypeAlias = Mapping[ChainId, Edit]


def edits(change: Change) -> Edits:
    """What of a change is chains."""
    every: dict[ObjectId, Edit] = {
        **{key: Edit(None, _rules(one.content)) for key, one in change.added.items()},
        **{key: Edit(_rules(one.old), _rules(one.new)) for key, one in change.changed.items()},
        **{key: Edit(_rules(one.content), None) for key, one in change.removed.items()},
    }
    return {key: edit for key, edit in every.items() if isinstance(key, ChainId)}


def is_ours(chain: str) -> bool:
    """Whether a chain is ours, by its name."""
    return chain.startswith(PREFIX)


def is_of_ipvs(chain: str) -> bool:
    """Whether a chain is the IPVS backend's."""
    return chain.startswith(IPVS_PREFIX)


def is_of_iptables(chain: str) -> bool:
    """Whether a chain is the iptables backend's."""
    return is_ours(chain) and not is_of_ipvs(chain)


def subject_of(key: ObjectId) -> tuple[str, str]:
    """What kind of object a chain's id stands for, and its name: of a built-in chain, our jumps."""
    return ("chain" if isinstance(key, ChainId) and is_ours(key.chain) else "jump"), str(key)


def parse_chains(text: str, is_own: Callable[[str], bool]) -> Fragment:
    """Our chains and jumps in a text of iptables-save's or iptables-restore's form; any text gives an answer.

    Only chains whose name `is_own` are taken; of a built-in chain, only rules that jump to such a chain.
    """
    found: dict[ChainId, list[str]] = {}
    table = ""
    for line in text.splitlines():
        verb, _, rest = line.partition(" ")
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and is_own(verb[1:]):
            found[ChainId(table, verb[1:])] = []
        elif verb in ("-A", "-I"):
            chain, _, rule = rest.partition(" ")
            if is_own(chain):
                found.setdefault(ChainId(table, chain), []).append(rule)
            elif chain in BUILT_IN and (jump := OUR_JUMP.search(rule)) and is_own(jump[1]):
                jumps = found.setdefault(ChainId(table, chain), [])
                jumps.insert(0 if verb == "-I" else len(jumps), rule)
    return {chain: tuple(rules) for chain, rules in found.items()}


def commit_lines(table: str, edits: Edits) -> list[str]:
    """The edits of one table as `iptables-restore --noflush` reads them: one commit."""
    own = [(chain.chain, edit) for chain, edit in edits.items() if is_ours(chain.chain)]
    built_in = [(chain.chain, edit) for chain, edit in edits.items() if not is_ours(chain.chain)]
    return [
        f"*{table}",
        *(f":{chain} - [0:0]" for chain, _ in own),
        *(f"-D {chain} {rule}" for chain, edit in built_in for rule in edit.old or ()),
        *(f"-A {chain} {rule}" for chain, edit in own for rule in edit.new or ()),
        *(f"-I {chain} {rule}" for chain, edit in built_in for rule in reversed(edit.new or ())),
        # It was emptied above, and nothing of ours leads to it any more.
        *(f"-X {chain}" for chain, edit in own if edit.new is None),
        "COMMIT",
    ]


def address_text(address: str) -> str:
    """An address as inet_ntop(3) prints it: `::ffff:192.0.2.1`, where Python prints `::ffff:c000:201`."""
    if not address.startswith("::"):
        return address
    return socket.inet_ntop(socket.AF_INET6, address_number(address).to_bytes(16))


def network_text(network: Network) -> str:
    """A network as iptables prints it."""
    return f"{address_text(str(network.network_address))}/{network.prefixlen}"


def _rules(content: Content) -> Rules:
    return cast("Rules", content)
