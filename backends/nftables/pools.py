"""Pools: all lists of endpoints of one size stand in one map, and one rule sends to any of them.

A frontend's endpoints are the map's elements frontend . 0 … frontend . n-1, so
the map that holds a frontend tells the size of its pool: `numgen random mod n`
finds nothing in the maps of other sizes, and the next size is tried.

Each size has a chain of its own for its rule. The chain that tries the sizes
only jumps: when the kernel takes a rule that reads a map, it walks the whole
map, which costs 100 ms with 500,000 endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backends.nftables import rules as r
from backends.nftables.layout import INDEX, NODEPORT_PREFIX, Words, pool_chain, standard_set
from backends.nftables.objects import Chain, Rule, chain_id, set_id
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.plan import Action

POOL_KINDS = tuple((action, node_port) for action in (Action.CLUSTER, Action.LOCAL) for node_port in (False, True))


def pools_fragment(names: Iterable[str], words: Words) -> Fragment:
    """The maps and chains of the pools in use, by name, and the chains that try them, small sizes first."""
    fragment: dict[ObjectId, Content] = {}
    chains: dict[str, list[str]] = {pool_chain(action, node_port=node_port): [] for action, node_port in POOL_KINDS}
    for name in sorted(names, key=size_of):
        fragment[set_id(name)] = standard_set(words.family, name)
        fields = (*words.key(node_port=name.startswith(NODEPORT_PREFIX)), INDEX)
        fragment[chain_id(name)] = Chain(None, (r.dnat_by_map(words, fields, name, size_of(name)),))
        chains[name.rpartition("-")[0]].append(name)
    for chain, sizes in chains.items():
        fragment[chain_id(chain)] = Chain(None, _trying(sizes))
    return fragment


def _trying(sizes: Sequence[str]) -> tuple[Rule, ...]:
    """Jumps to every size, twice, then a drop, so that no packet falls through to the node itself.

    The kernel looks into each map as it is at that moment. A packet that is under way while a frontend goes to a
    smaller pool may have tried that one before the commit, and tries the larger one after it. The second round meets
    the pool where it is now; whoever meets two commits sends the packet again.
    """
    tries = tuple(r.jump(name) for name in sizes)
    return (*tries, *tries, r.DROP)


def size_of(name: str) -> int:
    """The size that a pool map's name ends in."""
    return int(name.rpartition("-")[2])
