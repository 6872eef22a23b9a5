"""This node's part of a plan: its primary address, whose source is a pod, and which of its addresses take NodePorts.

Everything is derived anew from Node object, host facts and settings, so a
changed address or PodCIDR is followed at once (kube-proxy keeps what it found
at startup). The rules are those of kube-proxy 1.36 (`proxyutil.NodePortAddresses`,
`app/server_linux.go`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from kproxy.core.host import PRIMARY, Host, LocalDetection, Settings, Traits
from kproxy.core.model import NO_NAMESPACE, Node
from kproxy.core.networks import of_family
from kproxy.core.values import Family, Network, ObjectKey, family_of, network_contains

VIP_LINK = "kproxy-ipvs0"
"""The dummy link on which the IPVS backend holds Services' addresses: they are none of the node's own."""
MAX_SHOWN = 5
"""How many names of Nodes a message has."""
LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


def primary_address(host: Host, node: Node | None, family: Family) -> str | None:
    """The node's main address of the family: the host's word, else the Node object's first; None if there is none."""
    known = (*host.primary, *(node.addresses if node else ()))
    return next((address for address in known if family_of(address) is family), None)


def unknown_node(nodes: Mapping[ObjectKey, Node], name: str) -> str:
    """A sentence if Nodes are known and none of them has this name; empty otherwise."""
    if not nodes or ObjectKey(NO_NAMESPACE, name) in nodes:
        return ""
    names = sorted(key.name for key in nodes)
    shown = ", ".join(names[:MAX_SHOWN]) + (", …" if len(names) > MAX_SHOWN else "")
    return f"no Node object is named {name}, so no endpoint counts as local: --node-name takes one of {shown}"


def pods_of(settings: Settings, node: Node | None, family: Family) -> tuple[Network, ...] | str | None:
    """Whose source is a pod, as `NodePlan.pods`; None where the mode has nothing to go by."""
    mode = settings.local_detection
    if mode is LocalDetection.BRIDGE_INTERFACE:
        return settings.bridge_interface or None
    if mode is LocalDetection.INTERFACE_NAME_PREFIX:
        return f"{settings.interface_prefix}+" if settings.interface_prefix else None
    if mode is LocalDetection.CLUSTER_CIDR:
        return of_family(settings.cluster_cidrs, family)[:1] or None
    return of_family(node.pod_cidrs if node else (), family) or None


def node_port_addresses(
    settings: Settings, traits: Traits, host: Host, primary: str | None, family: Family
) -> frozenset[str] | None:
    """The addresses that take NodePorts, as `NodePlan.node_ports`; None: every local one.

    A family that no entry speaks of takes them everywhere, as in kube-proxy.
    `primary` speaks of both families: without a primary address, none takes them.
    """
    entries = _entries(settings, traits)
    networks = _networks(entries, family)
    if PRIMARY not in entries and not networks:
        return None
    if any(network.prefixlen == 0 for network in networks):
        return None
    chosen = {address for address in host.addresses if any(network_contains(one, address) for one in networks)}
    if PRIMARY in entries and primary:
        chosen.add(primary)
    return frozenset(address for address in chosen if not is_loopback(address))


def loopback_takes_node_ports(settings: Settings, traits: Traits, family: Family) -> bool:
    """Whether IPv4 loopback takes NodePorts.

    Where loopback has to be listed, only a network inside 127.0.0.0/8 lists it:
    0.0.0.0/0 asks for every address of an interface, not for `route_localnet`.
    """
    if family is not Family.IPV4:
        return False
    entries = _entries(settings, traits)
    networks = [one for one in _networks(entries, family) if isinstance(one, ipaddress.IPv4Network)]
    if traits.loopback_needs_listing:
        return any(network.subnet_of(LOOPBACK) for network in networks)
    unrestricted = not networks and PRIMARY not in entries
    return settings.localhost_node_ports and (unrestricted or any(one.overlaps(LOOPBACK) for one in networks))


def is_loopback(address: str) -> bool:
    """Whether an address is in 127.0.0.0/8 or is ::1."""
    return address.startswith("127.") or address == "::1"


def is_local(address: str, host: Host) -> bool:
    """Whether an address is the node's own."""
    return address in host.addresses or is_loopback(address)


def _entries(settings: Settings, traits: Traits) -> tuple[Network | str, ...]:
    return traits.node_ports_default if settings.node_port_addresses is None else settings.node_port_addresses


def _networks(entries: Iterable[Network | str], family: Family) -> tuple[Network, ...]:
    return of_family((one for one in entries if not isinstance(one, str)), family)
