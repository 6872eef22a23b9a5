"""From a NodePlan to the Document of our table.

A Service owns its elements; what Services share (shapes, pools of a size,
hairpin pairs) is counted and has owners of its own. The previous result only
saves work: a Service whose plan is the same object keeps its fragment, and of
a changed one the old uses are found by compiling the old plan once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backends.nftables.base import base_fragment, frontends_fragment
from backends.nftables.frontends import Uses, cluster_ips_of, compile_service
from backends.nftables.layout import CLUSTER_IPS, FRONTENDS, HAIRPIN, HAIRPINS, POOLS, SHARED_IPS, WORDS, Words
from backends.nftables.objects import Element, element_id
from backends.nftables.pools import pools_fragment
from backends.nftables.shapes import shape_of
from kproxy.core.changes import changed_keys, recount
from kproxy.core.document import BASE, NOTHING, Fragment, Owner, edited
from kproxy.core.plan import NodePlan
from kproxy.core.values import ObjectKey, Value
from kproxy.ports import Compiled


class Counts(Value, frozen=True):
    """How often what is shared is used, by name; `contested` are the ClusterIPs of more than one Service."""

    shapes: Mapping[str, int] = {}
    pools: Mapping[str, int] = {}
    hairpins: Mapping[str, int] = {}
    cluster_ips: Mapping[str, int] = {}
    contested: frozenset[str] = frozenset()


class Kept(Compiled, frozen=True):
    """A result, and the counts that the next one goes on with."""

    counts: Counts


def compile_plan(plan: NodePlan, previous: Compiled | None) -> Kept:
    """The Document for a plan."""
    words = WORDS[plan.family]
    if not isinstance(previous, Kept) or previous.plan.family is not plan.family:
        previous = Kept(NodePlan(plan.family, {}), {}, Counts())
    before, counts = previous.plan.services, previous.counts
    fragments: dict[Owner, Fragment] = {}
    added: list[Uses] = []
    removed: list[Uses] = []
    for key in sorted(changed_keys(before, plan.services)):
        if key in before:
            removed.append(compile_service(before[key], words, counts.contested).uses)
        fragments[str(key)] = NOTHING
        if key in plan.services:
            fragments[str(key)], uses = compile_service(plan.services[key], words, counts.contested)
            added.append(uses)
    counts = _count(counts, added, removed)
    for key in _disputed(previous.counts.contested ^ counts.contested, plan):
        fragments[str(key)] = compile_service(plan.services[key], words, counts.contested).fragment
    fragments.update(_shared_fragments(plan, counts, words))
    return Kept(plan, edited(previous.document, fragments), counts)


def _count(before: Counts, added: list[Uses], removed: list[Uses]) -> Counts:
    cluster_ips = recount(before.cluster_ips, (u.cluster_ips for u in added), (u.cluster_ips for u in removed))
    contested = before.contested
    if cluster_ips is not before.cluster_ips:
        contested = frozenset(address for address, count in cluster_ips.items() if count > 1)
    return Counts(
        recount(before.shapes, (u.shapes for u in added), (u.shapes for u in removed)),
        recount(before.pools, (u.pools for u in added), (u.pools for u in removed)),
        recount(before.hairpins, (u.hairpins for u in added), (u.hairpins for u in removed)),
        cluster_ips,
        contested,
    )


def _disputed(addresses: frozenset[str], plan: NodePlan) -> list[ObjectKey]:
    """The Services that share one of these ClusterIPs, or did until now."""
    if not addresses:
        return []
    return [key for key, service in plan.services.items() if not addresses.isdisjoint(cluster_ips_of(service))]


def _shared_fragments(plan: NodePlan, counts: Counts, words: Words) -> Iterable[tuple[Owner, Fragment]]:
    yield BASE, base_fragment(plan, words)
    yield FRONTENDS, frontends_fragment([shape_of(name) for name in sorted(counts.shapes)], plan, words)
    yield POOLS, pools_fragment(counts.pools, words)
    addresses = map(words.pack, counts.hairpins)
    yield HAIRPINS, {element_id(HAIRPIN, address + address): Element() for address in addresses}
    shared = map(words.pack, counts.contested)
    yield SHARED_IPS, {element_id(CLUSTER_IPS, address): Element() for address in shared}
