"""Pod egress masquerade: which connections of pods leave the node with its address.

The job of ip-masq-agent, decided in the plan: a connection whose source is a
pod and that no Service took leaves masqueraded, unless its destination is
exempt. A Service's own decision is never touched, nor is what stays on the node.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from kproxy.core.host import Host, Settings
from kproxy.core.model import Node
from kproxy.core.networks import collapsed, of_family
from kproxy.core.node_facts import is_local
from kproxy.core.plan import Egress
from kproxy.core.values import Family, Network, network_contains

LINK_LOCAL: Final[Mapping[Family, Network]] = {
    Family.IPV4: ipaddress.ip_network("169.254.0.0/16"),
    Family.IPV6: ipaddress.ip_network("fe80::/10"),
}
MULTICAST: Final[Mapping[Family, Network]] = {
    Family.IPV4: ipaddress.ip_network("224.0.0.0/4"),
    Family.IPV6: ipaddress.ip_network("ff00::/8"),
}

NO_PODS: Final = "no packet's source is known to be a pod; set clusterCIDR, or another detectLocalMode"


def egress_of(
    settings: Settings,
    pods: tuple[Network, ...] | str | None,
    node: Node | None,
    cluster_ranges: tuple[Network, ...],
    family: Family,
) -> tuple[Egress | None, str]:
    """As `NodePlan.egress` and `NodePlan.no_egress`.

    A family that `nonMasqueradeCIDRs` does not speak of has the default:
    clusterCIDR, ServiceCIDRs and link-local. Without a clusterCIDR that is
    nothing to go by: pods on other nodes would see this node instead of pods.
    The Node's own podCIDRs and multicast are exempt whatever the list says.
    """
    if not settings.egress_masquerade:
        return None, ""
    if pods is None:
        return None, NO_PODS
    exempt = of_family(settings.non_masquerade, family)
    if not exempt:
        clusters = of_family(settings.cluster_cidrs, family)
        if not clusters:
            return None, (
                f"neither nonMasqueradeCIDRs nor clusterCIDR names an {family.label} network, so pods of other nodes "
                "cannot be told from the outside; set one of them"
            )
        exempt = (*clusters, *cluster_ranges, LINK_LOCAL[family])
    own = node.pod_cidrs if node else ()
    networks = collapsed((*exempt, *own, MULTICAST[family]), family)
    if any(network.prefixlen == 0 for network in networks):
        return None, f"{networks[0]} exempts every destination; leave it out of nonMasqueradeCIDRs"
    return Egress(networks), ""


def exemption(egress: Egress, destination: str, host: Host) -> str:
    """Why a pod's connection to a destination keeps the pod's address, in words; empty if it does not."""
    if is_local(destination, host):
        return f"{destination} is the node's own"
    found = next((network for network in egress.exempt if network_contains(network, destination)), None)
    return f"{found} is not masqueraded" if found else ""
