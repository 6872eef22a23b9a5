"""What stands whether or not there are Services: base chains, fixed sets, and the dispatch over shapes."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from backends.nftables import rules as r
from backends.nftables.layout import (
    CLUSTER_IPS,
    DISPATCH,
    EGRESS,
    HAIRPIN,
    HOOKS,
    INPUT,
    NODEPORT_IPS,
    NODEPORT_PREFIX,
    NODEPORTS,
    POSTROUTING,
    REFUSED_NODEPORTS,
    SOURCE_RANGES,
    UNALLOCATED,
    Words,
    standard_set,
    sticky_map,
)
from backends.nftables.objects import TABLE_ID, Chain, Element, Rule, Table, chain_id, element_id, set_id
from backends.nftables.shapes import Shape, pod_matches, shape_chain
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.networks import collapsed
from kproxy.core.plan import Action, Egress, NodePlan, Unallocated, Unlisted
from kproxy.core.values import Family, Network, network_contains

LOOPBACK: Final = {Family.IPV4: ipaddress.ip_network("127.0.0.0/8"), Family.IPV6: ipaddress.ip_network("::1/128")}

BASE_SETS: Final = (
    CLUSTER_IPS,
    NODEPORT_IPS,
    HAIRPIN,
    REFUSED_NODEPORTS,
    SOURCE_RANGES,
    NODEPORT_PREFIX + SOURCE_RANGES,
    *(sticky_map(action, node_port=node) for action in (Action.CLUSTER, Action.LOCAL) for node in (False, True)),
)


def base_fragment(plan: NodePlan, words: Words) -> Fragment:
    """The table, its hooks and the sets that are always there."""
    fragment: dict[ObjectId, Content] = {TABLE_ID: Table()}
    fragment.update((set_id(name), standard_set(plan.family, name)) for name in BASE_SETS)
    rules = {
        INPUT: _input_rules(plan, words),
        POSTROUTING: _postrouting_rules(plan, words),
        UNALLOCATED: _unallocated_rules(plan, words),
    }
    for name, hook in HOOKS.items():
        fragment[chain_id(name)] = Chain(hook, tuple(rules.get(name, [r.goto(DISPATCH)])))
    if plan.egress:
        fragment[chain_id(EGRESS)] = Chain(None, tuple(_egress_rules(plan.egress, plan, words)))
    loopback = LOOPBACK[plan.family]
    for address in plan.node_ports or ():
        if not network_contains(loopback, address):
            fragment[element_id(NODEPORT_IPS, words.pack(address))] = Element()
    return fragment


def frontends_fragment(shapes: Sequence[Shape], plan: NodePlan, words: Words) -> Fragment:
    """The dispatch, and the shapes' sets and chains."""
    fragment: dict[ObjectId, Content] = {
        chain_id(DISPATCH): Chain(None, tuple(_dispatch_rules(shapes, plan, words))),
        chain_id(NODEPORTS): Chain(None, tuple(_to_shapes([s for s in shapes if s.node_port], words))),
    }
    for shape in shapes:
        fragment[set_id(shape.name)] = standard_set(plan.family, shape.name)
        fragment[chain_id(shape.name)] = shape_chain(shape, plan, words)
    return fragment


def _to_shapes(shapes: Sequence[Shape], words: Words) -> list[Rule]:
    return [
        (*r.in_set(words, words.key(node_port=shape.node_port), shape.name), *r.goto(shape.name)) for shape in shapes
    ]


def _dispatch_rules(shapes: Sequence[Shape], plan: NodePlan, words: Words) -> list[Rule]:
    rules = _to_shapes([shape for shape in shapes if not shape.node_port], words)
    if any(shape.node_port for shape in shapes):
        rules += [(*match, *r.jump(NODEPORTS)) for match in _node_port_matches(plan, words)]
    if plan.unlisted is Unlisted.REJECT:
        rules.append((*r.in_set(words, (words.daddr,), CLUSTER_IPS), *r.reject(words)))
    return rules


def _unallocated_rules(plan: NodePlan, words: Words) -> list[Rule]:
    """Addresses of ServiceCIDRs that nobody serves: no chain of anybody has translated or refused them.

    An address that the node has is somebody's: of a virtual server, most likely.
    """
    if plan.unallocated is not Unallocated.DROP:
        return []
    spared = [] if plan.unlisted is Unlisted.REJECT else [(*r.in_set(words, (words.daddr,), CLUSTER_IPS), *r.RETURN)]
    elsewhere = r.is_local(source=False, inverted=True)
    ranges = collapsed(plan.cluster_ranges, plan.family)
    return [*spared, *((*r.in_network(words, words.daddr, one), *elsewhere, *r.DROP) for one in ranges)]


def _node_port_matches(plan: NodePlan, words: Words) -> list[Rule]:
    """How an address that takes NodePorts is known; loopback is decided by its own setting alone."""
    loopback = LOOPBACK[plan.family]
    if plan.node_ports is not None:
        matches = [r.in_set(words, (words.daddr,), NODEPORT_IPS)]
    else:
        not_loopback = r.in_network(words, words.daddr, loopback, inverted=True)
        matches = [(*not_loopback, *r.is_local(source=False))]
    return [*matches, *_loopback_match(plan, loopback, words)]


def _loopback_match(plan: NodePlan, loopback: Network, words: Words) -> list[Rule]:
    takes_it = plan.loopback_node_ports and plan.family is Family.IPV4
    return [r.in_network(words, words.daddr, loopback)] if takes_it else []


def _input_rules(plan: NodePlan, words: Words) -> list[Rule]:
    """NodePorts without endpoints are refused here: in the output hook a UDP client would get EPERM, not a refusal."""
    loopback = LOOPBACK[plan.family]
    refused = (*r.in_set(words, words.key(node_port=True), REFUSED_NODEPORTS), *r.reject(words))
    rules = [(*r.ct_state(r.CT_NEW), *match, *refused) for match in _node_port_matches(plan, words)]
    if _loopback_match(plan, loopback, words):
        # With route_localnet set, the network could reach what listens on loopback only.
        foreign = r.in_network(words, words.saddr, loopback, inverted=True)
        strange = r.ct_state(r.CT_INVALID, r.CT_NEW, r.CT_UNTRACKED)
        rules.insert(0, (*foreign, *r.in_network(words, words.daddr, loopback), *strange, *r.DROP))
    return rules


def _postrouting_rules(plan: NodePlan, words: Words) -> list[Rule]:
    mark = plan.masquerade_mark
    pair = r.in_set(words, (words.saddr, words.daddr), HAIRPIN)
    return [
        (*r.is_marked(mark), *r.clear_mark(mark), *r.MASQUERADE),
        (*r.ct_status(r.IPS_DST_NAT), *pair, *r.MASQUERADE),
        *_to_egress(plan, words),
    ]


def _to_egress(plan: NodePlan, words: Words) -> list[Rule]:
    """Connections of pods that nobody translated: a Service alone decides about its own, whatever it decided."""
    if plan.egress is None:
        return []
    matches = pod_matches(plan, words)
    return [(*r.ct_status(r.IPS_DST_NAT, inverted=True), *match, *r.jump(EGRESS)) for match in matches]


def _egress_rules(egress: Egress, plan: NodePlan, words: Words) -> list[Rule]:
    stays = [r.is_local(source=False)]
    if isinstance(plan.pods, str):
        stays.append(r.to_interface(plan.pods))
    exempt = [r.in_network(words, words.daddr, network) for network in egress.exempt]
    return [*((*match, *r.RETURN) for match in (*stays, *exempt)), r.MASQUERADE]
