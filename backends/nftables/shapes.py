"""Shapes: what frontends have in common, so that all of a shape share one chain.

A shape is how a frontend is found (K or N), whether it is fenced by source
ranges, whether it has affinity, and its routes; pool sizes are no part of it,
so an endpoint that comes or goes never moves a frontend from chain to chain.
A shape's name says all of it, and is read back by `shape_of`.
"""

from __future__ import annotations

from backends.nftables import rules as r
from backends.nftables.layout import (
    FRONTENDS,
    NODEPORT_PREFIX,
    SOURCE_RANGES,
    STICKY,
    Words,
    pool_chain,
    prefix,
    sticky_map,
)
from backends.nftables.objects import Chain, Rule
from kproxy.core.networks import collapsed
from kproxy.core.plan import Action, Client, NodePlan, Route
from kproxy.core.values import Value

FENCED, MASQUERADE = "fenced", "masquerade"


class Shape(Value, frozen=True):
    """All that decides which chain a frontend goes to."""

    node_port: bool
    fenced: bool
    sticky: bool
    routes: tuple[Route, ...]

    @property
    def name(self) -> str:
        """The name of its set and of its chain: `frontends/pod-cluster/any-masquerade-cluster`."""
        words = [prefix(node_port=self.node_port) + FRONTENDS]
        words += [FENCED] if self.fenced else []
        words += [STICKY] if self.sticky else []
        words += [
            f"{route.client}-{MASQUERADE}-{route.action}" if route.masquerade else f"{route.client}-{route.action}"
            for route in self.routes
        ]
        return "/".join(words)


def shape_of(name: str) -> Shape:
    """The shape that has this name; ValueError if none can."""
    head, *words = name.split("/")
    fenced, sticky = FENCED in words, STICKY in words
    routes = [word.split("-") for word in words if word not in (FENCED, STICKY)]
    return Shape(
        head.startswith(NODEPORT_PREFIX),
        fenced,
        sticky,
        tuple(Route(Client(route[0]), MASQUERADE in route, Action(route[-1])) for route in routes),
    )


def shape_chain(shape: Shape, plan: NodePlan, words: Words) -> Chain:
    """The chain of a shape: the fence, then a rule per route and client."""
    rules: list[Rule] = []
    key = words.key(node_port=shape.node_port)
    if shape.fenced:
        ranges = prefix(node_port=shape.node_port) + SOURCE_RANGES
        rules.append((*r.outside_ranges(words, (*key, words.saddr), ranges), *r.DROP))
    for route in shape.routes:
        rules.extend(_route_rules(route, shape, plan, words))
    return Chain(None, tuple(rules))


def _route_rules(route: Route, shape: Shape, plan: NodePlan, words: Words) -> list[Rule]:
    mark = r.set_mark(plan.masquerade_mark) if route.masquerade and not route.action.refuses else ()
    return [(*match, *mark, *_action(route.action, shape, words)) for match in _matches(route.client, plan, words)]


def _matches(client: Client, plan: NodePlan, words: Words) -> list[Rule]:
    if client is Client.ANY:
        return [()]
    if client is Client.NODE:
        return [r.is_local(source=True)]
    return pod_matches(plan, words)


def pod_matches(plan: NodePlan, words: Words) -> list[Rule]:
    """Any of these says that a packet's source is a pod; none without a detector."""
    if isinstance(plan.pods, str):
        return [r.from_interface(plan.pods)]
    return [r.in_network(words, words.saddr, network) for network in collapsed(plan.pods or (), plan.family)]


def _action(action: Action, shape: Shape, words: Words) -> Rule:
    if action is Action.REJECT:
        return r.reject(words)
    if action is Action.DROP:
        return r.DROP
    if shape.sticky:
        return r.by_map(words, words.key(node_port=shape.node_port), sticky_map(action, node_port=shape.node_port))
    return r.goto(pool_chain(action, node_port=shape.node_port))
