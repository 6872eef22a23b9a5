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
from kproxy.core.changes import changed_keys
from kproxy.core.document import BASE, Fragment, Owner
from kproxy.core.plan import NodePlan
from kproxy.core.values import ObjectKey
from kproxy.ports import Compiled

Parts = Mapping[ObjectKey, Part]
Trees = Mapping[Tree, Fragment]
NO_LEAVES: Leaves = {}


class Chains(Compiled, frozen=True):
    """A compiled plan, with what the next one may take over."""

    words: Words
    parts: Parts
    trees: Trees


def compile_plan(plan: NodePlan, previous: Compiled | None) -> Chains:
    """The Document of a plan; `previous` only saves work. ConfigError if the pods' interface has no usable name."""
    words = words_for(plan)
    if isinstance(previous, Chains) and previous.words == words:
        return _compile_changes(plan, words, previous)
    parts = {key: compile_service(service, words) for key, service in plan.services.items()}
    trees = {tree: grow(layout, _rules(tree, parts.values())) for tree, layout in layouts(words).items()}
    document: dict[Owner, Fragment] = {BASE: _base(plan, words, parts, trees)}
    document.update((tree.value, chains) for tree, chains in trees.items())
    document.update((part.owner, part.fragment) for part in parts.values() if part.fragment)
    return Chains(plan, document, words, parts, trees)


def _compile_changes(plan: NodePlan, words: Words, last: Chains) -> Chains:
    """Copies of the last mappings, with what has changed."""
    parts, document = dict(last.parts), dict(last.document)
    stale: set[Tree] = set()
    for key in changed_keys(last.plan.services, plan.services):
        old = parts.pop(key, None)
        if old is not None:
            document.pop(old.owner, None)
        service = plan.services.get(key)
        new = None if service is None else compile_service(service, words)
        if new is not None:
            parts[key] = new
            if new.fragment:
                document[new.owner] = new.fragment
        stale |= _differing(old.leaves if old else NO_LEAVES, new.leaves if new else NO_LEAVES)
    trees = {
        tree: grow(layout, _rules(tree, parts.values())) if tree in stale else last.trees[tree]
        for tree, layout in layouts(words).items()
    }
    document.update((tree.value, chains) for tree, chains in trees.items())
    document[BASE] = _base(plan, words, parts, trees)
    return Chains(plan, document, words, parts, trees)


def _rules(tree: Tree, parts: Iterable[Part]) -> dict[int, str]:
    return {key: rule for part in parts for key, rule in part.leaves.get(tree, ())}


def _differing(one: Leaves, other: Leaves) -> set[Tree]:
    return {tree for tree in one.keys() | other.keys() if one.get(tree) != other.get(tree)}


def _base(plan: NodePlan, words: Words, parts: Parts, trees: Trees) -> Fragment:
    in_chain = words.unlisted and Tree.UNLISTED not in trees
    spared = sorted(_rules(Tree.UNLISTED, parts.values()).items()) if in_chain else []
    return base_fragment(plan, words, [rule for _, rule in spared])
