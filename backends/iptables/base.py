"""What stands whether or not there are Services: our jumps in the built-in chains, and the chains they lead to.

nat: PREROUTING and OUTPUT lead to the tree of addresses, then to the one of
NodePorts; POSTROUTING masquerades what is marked or meets itself, and what pods send to the outside.
filter: new connections whose destination was to be refused; connections we made
may be forwarded; loopback stays closed to the network though NodePorts need
`route_localnet`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from backends.iptables.names import (
    FORWARD,
    HAIRPIN,
    HEALTH_CHECKS,
    HOOKS,
    INPUT,
    MASQUERADE,
    NODE_PORTS,
    OUTPUT,
    POSTROUTING,
    REFUSED,
    REFUSED_NODE_PORTS,
    SERVICES,
    UNLISTED,
    UNSERVED,
    VIPS,
)
from backends.iptables.words import ACCEPT, DROP, LOOPBACK, NEW, TO_NODE, Words
from backends.iptables.words import MASQUERADE as DO_MASQUERADE
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.egress_rules import egress_chain, egress_jumps
from kproxy.core.plan import NodePlan, Unallocated, Unlisted
from kproxy.core.values import Family, Network, address_number, network_contains

DROP_INVALID: Final = f"-m conntrack --ctstate INVALID {DROP}"


def loopback_node_ports(family: Family) -> tuple[str, str]:
    """The rule that leads from loopback to the NodePorts, and the one behind it that meets what was none of them."""
    match = f"-d {LOOPBACK[family]} "
    return f"{match}-j {NODE_PORTS.chain}", f"{match}-j RETURN"


def base_fragment(plan: NodePlan, words: Words, spared: Iterable[str]) -> Fragment:
    """The static chains of a family, and our jumps in the built-in ones.

    `spared` are the rules that spare ClusterIPs from being dropped as unallocated.
    """
    node_ports = list(_node_port_matches(plan, words))
    unserved = [f"{NEW}-j {UNSERVED.chain}"] if words.unlisted else []
    refused = [f"{NEW}-j {REFUSED.chain}", *unserved]
    fragment: dict[ObjectId, Content] = {hook: (f"-j {chain.chain}",) for hook, chain in HOOKS.items()}
    fragment |= {
        SERVICES: (f"-j {VIPS.chain}", *_to_node_ports(plan, node_ports)),
        MASQUERADE: (words.unmark, DO_MASQUERADE),
        POSTROUTING: (
            f"{words.if_marked}-g {MASQUERADE.chain}",
            f"-m conntrack --ctstate DNAT -j {HAIRPIN.chain}",
            *egress_jumps(plan),
        ),
        INPUT: (
            *_close_loopback(plan),
            refused[0],
            *(f"{match}{NEW}-j {REFUSED_NODE_PORTS.chain}" for match in node_ports),
            *unserved,
            f"-p tcp -j {HEALTH_CHECKS.chain}",
        ),
        OUTPUT: (*_close_loopback(plan), *refused),
        FORWARD: (
            f"-m conntrack --ctstate RELATED,ESTABLISHED {ACCEPT}",
            *([DROP_INVALID] if plan.drop_invalid else []),
            *refused,
            f"{words.if_marked}{ACCEPT}",
        ),
    }
    fragment |= egress_chain(plan)
    if words.unlisted:
        refusals = (f"-j {UNLISTED.chain}",) if plan.unlisted is Unlisted.REJECT else tuple(spared)
        fragment[UNSERVED] = (*refusals, *_unallocated(plan, words))
    return fragment


def _to_node_ports(plan: NodePlan, matches: Iterable[str]) -> Iterator[str]:
    """The ways to the tree of NodePorts; what returns to loopback is counted, so that the rest is known."""
    enters, returns = loopback_node_ports(plan.family)
    for match in matches:
        rule = f"{match}-j {NODE_PORTS.chain}"
        yield from (enters, returns) if rule == enters else (rule,)


def _node_port_matches(plan: NodePlan, words: Words) -> Iterator[str]:
    """How an address that takes NodePorts is known; loopback by its own setting alone, ::1 never."""
    loopback = LOOPBACK[plan.family]
    if plan.family is Family.IPV4 and plan.loopback_node_ports:
        yield words.destination(loopback)
    if plan.node_ports is None:
        yield f"! {words.destination(loopback)}{TO_NODE}"
        return
    for address in sorted(plan.node_ports, key=address_number):
        if not network_contains(loopback, address):
            yield f"-d {words.host(address)} "


def _close_loopback(plan: NodePlan) -> tuple[str, ...]:
    """Drop what comes from the network to 127.0.0.0/8, which `route_localnet` would let in (CVE-2020-8558)."""
    if plan.family is not Family.IPV4 or not plan.loopback_node_ports:
        return ()
    loopback: Network = LOOPBACK[plan.family]
    return (f"! -s {loopback} -d {loopback} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT {DROP}",)


def _unallocated(plan: NodePlan, words: Words) -> Iterator[str]:
    if plan.unallocated is Unallocated.DROP:
        for network in plan.cluster_ranges:
            yield f"{words.destination(network)}-m addrtype ! --dst-type LOCAL {DROP}"
