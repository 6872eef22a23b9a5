"""Checks of NodePorts: who can reach them, and whose place they take."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

from kproxy.core.host import Host
from kproxy.core.model import Node
from kproxy.core.node_facts import node_port_addresses
from kproxy.core.values import Family, family_of
from kproxy.lint.finding import Check, Found, Severity, service
from kproxy.lint.subject import Subject, families, some_of

TAKEN_PORTS: Final[Mapping[int, str]] = {
    22: "SSH",
    53: "DNS",
    179: "BGP",
    2379: "etcd",
    2380: "etcd",
    6443: "the API server",
    10248: "kubelet's health",
    10249: "the proxy's metrics",
    10250: "kubelet",
    10256: "the proxy's health",
    10257: "the controller manager",
    10259: "the scheduler",
}
"""Ports on which nodes commonly listen."""


def _public_node_ports(subject: Subject) -> Iterator[Found]:
    public = {node.name: found for node in subject.nodes if (found := public_addresses(subject, node))}
    if not public:
        return
    for one in subject.snapshot.services.values():
        own = set(families(one))
        at = {name: [ip for ip in ips if family_of(ip) in own] for name, ips in public.items()}
        shown = some_of(f"{ips[0]} (node {name})" for name, ips in at.items() if ips)
        for index, port in enumerate(one.ports):
            if port.node_port and shown:
                reason = f"can be reached from the Internet at {shown}, as far as no firewall stands before it"
                yield Found(service(one.key), f"spec.ports[{index}].nodePort", str(port.node_port), reason)


def public_addresses(subject: Subject, node: Node) -> list[str]:
    """The addresses of a node that take NodePorts and that the Internet can reach, in the node's order."""
    taking: set[str] = set()
    host = Host(node.name, (), frozenset(node.addresses))
    for family in Family:
        primary = next((ip for ip in node.addresses if family_of(ip) is family), None)
        chosen = node_port_addresses(subject.settings, subject.traits, host, primary, family)
        taking |= chosen if chosen is not None else {ip for ip in node.addresses if family_of(ip) is family}
    return [ip for ip in node.addresses if ip in taking and is_public(ip)]


def is_public(address: str) -> bool:
    """Whether an address is global unicast: not private, not shared (CGN), not for documentation."""
    value = ipaddress.ip_address(address)
    return value.is_global and not value.is_multicast


def _taken_node_ports(subject: Subject) -> Iterator[Found]:
    for one in subject.snapshot.services.values():
        for index, port in enumerate(one.ports):
            if port.node_port in TAKEN_PORTS:
                own = TAKEN_PORTS[port.node_port]
                reason = f"takes over {port.node_port}/{port.protocol} of every node, where {own} may be"
                yield Found(service(one.key), f"spec.ports[{index}].nodePort", str(port.node_port), reason)


CHECKS: Final[tuple[Check[Subject], ...]] = (
    Check(
        "KPX022",
        Severity.WARNING,
        "NodePort on a public address",
        "A NodePort listens on every address of a node that takes NodePorts. Private, shared (100.64.0.0/10) and local"
        " addresses are not counted.",
        "set nodePortAddresses to the networks that clients come through",
        _public_node_ports,
    ),
    Check(
        "KPX023",
        Severity.WARNING,
        "NodePort of a well-known service of nodes",
        "A NodePort is taken before what listens on the node hears of a connection.",
        "leave nodePort to the API server (30000-32767)",
        _taken_node_ports,
    ),
)
