"""From a NodePlan to the Document of our table.

A Service owns its elements; what Services share (shapes, pools of a size,
hairpin pairs) is counted and has owners of its own. The previous result only
saves work: a Service whose plan is the same object keeps its fragment.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TypeVar

from backends.nftables.base import base_fragment, frontends_fragment
from backends.nftables.frontends import Part, Uses, compile_service
from backends.nftables.layout import (
    CLUSTER_IPS,
    FRONTENDS,
    HAIRPIN,
    HAIRPINS,
    POOLS,
    SHARED_IPS,
    WORDS,
    Words,
    pool_chain,
    standard_set,
)
from backends.nftables.objects import Chain, Element, chain_id, set_id
from backends.nftables.shapes import Pool, Shape, pool_rule
from kproxy.core.changes import changed_keys
from kproxy.core.document import BASE, Content, Fragment, ObjectId, Owner
from kproxy.core.plan import Action, NodePlan
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.ports import Compiled

T = TypeVar("T")


class Counts(Value, frozen=True):
    """How many Services use what is shared."""

    shapes: Mapping[Shape, int] = {}
    pools: Mapping[Pool, int] = {}
    hairpins: Mapping[str, int] = {}
    cluster_ips: Mapping[str, int] = {}


class Kept(Compiled, frozen=True):
    """A result with the parts it was made of."""

    parts: Mapping[ObjectKey, Part]
    counts: Counts


def compile_plan(plan: NodePlan, previous: Compiled | None) -> Kept:
    """The Document for a plan."""
    words = WORDS[plan.family]
    if not isinstance(previous, Kept) or previous.plan.family is not plan.family:
        previous = Kept(NodePlan(plan.family, {}), {}, {}, Counts())
    keys = changed_keys(previous.plan.services, plan.services)
    changed = [key for key in keys if key in plan.services]
    gone = keys.difference(changed)
    parts = dict(previous.parts)
    document = dict(previous.document)
    removed = [parts.pop(key).uses for key in gone]
    for key in gone:
        document.pop(str(key), None)
    removed += [parts[key].uses for key in changed if key in parts]
    contested = _contested(previous.counts.cluster_ips)
    for key in changed:
        _place(key, compile_service(plan.services[key], words, contested), parts, document)
    counts = _count(previous.counts, [parts[key].uses for key in changed], removed)
    for key in _disputed(contested ^ _contested(counts.cluster_ips), parts):
        _place(key, compile_service(plan.services[key], words, _contested(counts.cluster_ips)), parts, document)
    for owner, fragment in _shared_fragments(plan, counts, words):
        if not fragment:
            document.pop(owner, None)
        elif document.get(owner) != fragment:
            document[owner] = fragment
    return Kept(plan, document, parts, counts)


def _place(key: ObjectKey, part: Part, parts: dict[ObjectKey, Part], document: dict[Owner, Fragment]) -> None:
    parts[key] = part
    if part.fragment:
        document[str(key)] = part.fragment
    else:
        document.pop(str(key), None)


def _count(before: Counts, added: list[Uses], removed: list[Uses]) -> Counts:
    return Counts(
        _recount(before.shapes, (u.shapes for u in added), (u.shapes for u in removed)),
        _recount(before.pools, (u.pools for u in added), (u.pools for u in removed)),
        _recount(before.hairpins, (u.hairpins for u in added), (u.hairpins for u in removed)),
        _recount(before.cluster_ips, (u.cluster_ips for u in added), (u.cluster_ips for u in removed)),
    )


def _recount(before: Mapping[T, int], added: Iterable[Iterable[T]], removed: Iterable[Iterable[T]]) -> Mapping[T, int]:
    """The counts after some uses came and went; the very same mapping if they cancel out."""
    moves: dict[T, int] = {}
    for item in itertools.chain.from_iterable(added):
        moves[item] = moves.get(item, 0) + 1
    for item in itertools.chain.from_iterable(removed):
        moves[item] = moves.get(item, 0) - 1
    if not any(moves.values()):
        return before
    after = dict(before)
    for item, move in moves.items():
        after[item] = after.get(item, 0) + move
        if not after[item]:
            del after[item]
    return after


def _contested(cluster_ips: Mapping[str, int]) -> frozenset[str]:
    return frozenset(address for address, count in cluster_ips.items() if count > 1)


def _disputed(addresses: frozenset[str], parts: Mapping[ObjectKey, Part]) -> list[ObjectKey]:
    """The Services that share one of these ClusterIPs, or did until now."""
    if not addresses:
        return []
    return [key for key, part in parts.items() if not addresses.isdisjoint(part.uses.cluster_ips)]


def _shared_fragments(plan: NodePlan, counts: Counts, words: Words) -> Iterable[tuple[Owner, Fragment]]:
    shapes = sorted(counts.shapes, key=lambda shape: shape.name)
    yield BASE, base_fragment(plan, words)
    yield FRONTENDS, frontends_fragment(shapes, plan, words)
    yield POOLS, _pools_fragment(counts.pools, plan.family, words)
    addresses = map(words.pack, counts.hairpins)
    yield HAIRPINS, {(HAIRPIN, address + address): Element() for address in addresses}
    shared = map(words.pack, _contested(counts.cluster_ips))
    yield SHARED_IPS, {(CLUSTER_IPS, address): Element() for address in shared}


def _pools_fragment(pools: Iterable[Pool], family: Family, words: Words) -> Fragment:
    """The maps, and per kind of pool a chain with a rule per size, small pools first: those are the most."""
    fragment: dict[ObjectId, Content] = {}
    ordered = sorted(pools, key=lambda pool: pool.size)
    for node_port, action in itertools.product((False, True), (Action.CLUSTER, Action.LOCAL)):
        mine = [pool for pool in ordered if pool.node_port is node_port and pool.action is action]
        rules = tuple(pool_rule(pool, words) for pool in mine)
        fragment[chain_id(pool_chain(action, node_port=node_port))] = Chain(None, rules)
        fragment.update((set_id(pool.map), standard_set(family, pool.map)) for pool in mine)
    return fragment
