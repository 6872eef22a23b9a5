"""From a NodePlan to a Document of chains: object ids are `ChainId`s, contents tuples of rules.

The cache is the previous result: Services whose plan is the very same object
keep their part, and trees whose leaves did not change are kept whole. So a
changed endpoint costs one chain and passes over pointers; a changed
frontend also one tree. Without a cache the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backends.iptables.base import base_fragment
from backends.iptables.chains import Part, compile_service
from backends.iptables.leaves import Leaves, Tree, layouts
from backends.iptables.tree import grow
from backends.iptables.words import Words, words_for
from kproxy.core.document import BASE, Document, Fragment, Owner
from kproxy.core.plan import NodePlan
from kproxy.core.values import ObjectKey
from kproxy.ports import Compiled

Parts = Mapping[ObjectKey, Part]
Trees = Mapping[Tree, Fragment]


class Chains(Compiled, frozen=True):
    """A compiled plan, with what the next one may take over."""

    words: Words
    parts: Parts
    trees: Trees


def compile_plan(plan: NodePlan, previous: Compiled | None) -> Chains:
    """The Document of a plan; `previous` only saves work. ConfigError if the pods' interface has no usable name."""
    words = words_for(plan)
    last = previous if isinstance(previous, Chains) and previous.words == words else None
    parts = _parts(plan, words, last.parts if last else {})
    trees = _trees(words, parts, last)
    return Chains(plan, _document(plan, words, parts, trees), words, parts, trees)


def _parts(plan: NodePlan, words: Words, known: Parts) -> Parts:
    return {
        key: part if (part := known.get(key)) is not None and part.plan is service else compile_service(service, words)
        for key, service in plan.services.items()
    }


def _trees(words: Words, parts: Parts, last: Chains | None) -> Trees:
    """Every tree, grown anew only where a leaf came, went or changed."""
    plans = layouts(words)
    if last is None:
        return {tree: grow(layout, _rules(tree, parts.values())) for tree, layout in plans.items()}
    stale = _changed_trees(last.parts, parts)
    return {
        tree: grow(layout, _rules(tree, parts.values())) if tree in stale else last.trees[tree]
        for tree, layout in plans.items()
    }


def _rules(tree: Tree, parts: Iterable[Part]) -> dict[int, str]:
    return {key: rule for part in parts for key, rule in part.leaves.get(tree, ())}


def _changed_trees(before: Parts, after: Parts) -> set[Tree]:
    nothing: Leaves = {}
    changed: set[Tree] = set()
    for key, part in after.items():
        old = before.get(key)
        if part is not old:
            changed |= _differing(old.leaves if old else nothing, part.leaves)
    if len(before) != len(after) or before.keys() != after.keys():
        for key in before.keys() - after.keys():
            changed |= before[key].leaves.keys()
    return changed


def _differing(one: Leaves, other: Leaves) -> set[Tree]:
    return {tree for tree in one.keys() | other.keys() if one.get(tree) != other.get(tree)}


def _document(plan: NodePlan, words: Words, parts: Parts, trees: Trees) -> Document:
    in_chain = words.unlisted and Tree.UNLISTED not in trees
    spared = sorted(_rules(Tree.UNLISTED, parts.values()).items()) if in_chain else []
    document: dict[Owner, Fragment] = {BASE: base_fragment(plan, words, [rule for _, rule in spared])}
    document.update((tree.value, chains) for tree, chains in trees.items())
    document.update((part.owner, part.fragment) for part in parts.values() if part.fragment)
    return document
