"""What stands whether or not there are Services: the sets, the rules that look at them, and kernel parameters.

mangle (PREROUTING, OUTPUT): a new connection's packet gets the mark that its
client and frontend ask for, or is dropped. It has to be there: only that table
takes marks from a set, and it comes before IPVS also for the node's own packets.
filter INPUT: what no virtual server takes is refused, so that a VIP never leads
to the host. nat POSTROUTING: masquerades what is marked or meets itself, and
what pods send to the outside.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from backends.ipvs.names import (
    DROP_SLOT,
    EGRESS,
    FORWARD,
    HOOKS,
    INPUT,
    MANGLE,
    MASQUERADE,
    NODE_PORTS,
    POSTROUTING,
    REFUSED,
    REJECT_SLOT,
    SERVICES,
    SETS,
    mark_for,
)
from backends.ipvs.objects import Fallback, Kind, SetId, Shape, Sysctl, Timeouts
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.egress_rules import egress_chain, egress_jumps
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, Network, address_number, network_contains

NEW: Final = "-m conntrack --ctstate NEW "
REJECT: Final = {
    Family.IPV4: "-j REJECT --reject-with icmp-port-unreachable",
    Family.IPV6: "-j REJECT --reject-with icmp6-port-unreachable",
}
ICMP: Final = {Family.IPV4: "icmp", Family.IPV6: "ipv6-icmp"}
LOOPBACK: Final = {Family.IPV4: ipaddress.ip_network("127.0.0.0/8"), Family.IPV6: ipaddress.ip_network("::1/128")}
DO_MASQUERADE: Final = "-j MASQUERADE --random-fully"

NOT_BALANCED: Final = "-m ipvs ! --ipvs "
"""What IPVS sends on is a Service's, though conntrack does not call it translated."""

SYSCTLS: Final = {
    "net.ipv4.vs.conntrack": "1",
    "net.ipv4.vs.expire_nodest_conn": "1",
    "net.ipv4.vs.expire_quiescent_template": "1",
    "net.ipv4.ip_forward": "1",
}
"""As kube-proxy's: connections of IPVS are seen by netfilter, those of a server that is gone end at once."""


def base_fragment(plan: NodePlan) -> Fragment:
    """Sets, chains, jumps and parameters of one family."""
    fragment: dict[ObjectId, Content] = {**_sets(plan.family), **_chains(plan)}
    for hook, chain in HOOKS.items():
        fragment[hook] = (f"{NEW if hook.table == MANGLE else ''}-j {chain.chain}",)
    fragment.update({Sysctl(name): value for name, value in SYSCTLS.items()})
    if plan.ipvs.strict_arp:
        fragment.update({Sysctl("net.ipv4.conf.all.arp_ignore"): "1", Sysctl("net.ipv4.conf.all.arp_announce"): "2"})
    fragment[Fallback()] = plan.ipvs.scheduler
    if any(plan.ipvs.timeouts_s):
        fragment[Timeouts()] = plan.ipvs.timeouts_s
    return fragment


def _sets(family: Family) -> dict[ObjectId, Content]:
    names = SETS[family]
    shapes = {
        Shape(Kind.ADDRESS): (names.vips,),
        Shape(Kind.PLACE): (names.fenced,),
        Shape(Kind.PLACE_AND_NETWORK): (names.allowed,),
        Shape(Kind.PLACE_AND_ADDRESS): (names.hairpin,),
        Shape(Kind.PLACE, marks=True): (names.any, names.node, names.pod),
        Shape(Kind.NETWORK_AND_PORT, marks=True): (names.port_any, names.port_node, names.port_pod),
        Shape(Kind.NETWORK_AND_PORT): (names.health,),
    }
    return {SetId(name): shape for shape, several in shapes.items() for name in several}


def _chains(plan: NodePlan) -> dict[ObjectId, Content]:
    names, bit = SETS[plan.family], plan.masquerade_bit
    mark = f"{plan.masquerade_mark:#x}"
    refuse = REJECT[plan.family]
    marked = f"-m mark --mark {mark}/{mark} "
    not_icmp = f"! -p {ICMP[plan.family]} "
    return {
        SERVICES: (
            f"-m set --match-set {names.fenced} dst,dst -m set ! --match-set {names.allowed} dst,dst,src -j DROP",
            *_marks(plan, names.any, names.node, names.pod),
            f"-m set --match-set {names.any} dst,dst -g {REFUSED.chain}",
            f"-m set --match-set {names.vips} dst -j RETURN",
            *(f"{match}-g {NODE_PORTS.chain}" for match in _node_port_matches(plan)),
        ),
        NODE_PORTS: (*_marks(plan, names.port_any, names.port_node, names.port_pod), f"-g {REFUSED.chain}"),
        REFUSED: (f"-m mark --mark {mark_for(DROP_SLOT, bit):#x} -j DROP",),
        POSTROUTING: (
            f"{marked}-g {MASQUERADE.chain}",
            f"-m set --match-set {names.hairpin} dst,dst,src {DO_MASQUERADE}",
            f"! -o lo -m set --match-set {names.vips} src {DO_MASQUERADE}",
            *egress_jumps(plan, unless=NOT_BALANCED, chain=EGRESS),
        ),
        **egress_chain(plan, EGRESS),
        MASQUERADE: (f"-j MARK --set-xmark 0x0/{mark}", DO_MASQUERADE),
        INPUT: (
            f"{NEW}-m mark --mark {mark_for(REJECT_SLOT, bit):#x} {refuse}",
            f"{not_icmp}{NEW}-m set --match-set {names.vips} dst -m set ! --match-set {names.any} dst,dst {refuse}",
            f"-p tcp -m addrtype --dst-type LOCAL -m set --match-set {names.health} dst,dst -j ACCEPT",
        ),
        FORWARD: (
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            *(["-m conntrack --ctstate INVALID -j DROP"] if plan.drop_invalid else []),
        ),
    }


def _marks(plan: NodePlan, for_any: str, for_node: str, for_pod: str) -> Iterator[str]:
    """The rules that take marks from sets; the planner asks for pods first, so theirs is the last word."""
    yield _mark("", for_any)
    yield _mark("-m addrtype --src-type LOCAL ", for_node)
    if isinstance(plan.pods, str):
        yield _mark(f"-i {plan.pods} ", for_pod)
        return
    for network in plan.pods or ():
        yield _mark(f"-s {network} " if network.prefixlen else "", for_pod)


def _mark(match: str, of: str) -> str:
    return f"{match}-j SET --map-set {of} dst,dst --map-mark"


def _node_port_matches(plan: NodePlan) -> Iterator[str]:
    """How an address that takes NodePorts is known; never a loopback one, which IPVS cannot serve."""
    loopback: Network = LOOPBACK[plan.family]
    if plan.node_ports is None:
        yield f"! -d {loopback} -m addrtype --dst-type LOCAL "
        return
    for address in sorted(plan.node_ports, key=address_number):
        if not network_contains(loopback, address):
            yield f"-d {address}/{plan.family.address_bits} "
