"""What the planner must be told about this node and its settings, beside the cluster's objects."""

from __future__ import annotations

import enum

from kproxy.core.plan import Ipvs, Unallocated, Unlisted
from kproxy.core.values import Network, Value

PRIMARY = "primary"
"""The word in nodePortAddresses that stands for the node's primary address of each family."""


class LocalDetection(enum.StrEnum):
    """`detectLocalMode`: how a packet's source is known to be a pod of this node or cluster."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


class Traits(Value, frozen=True):
    """In what the backends differ on purpose; a planner input, so that the plan itself says it."""

    unlisted: Unlisted
    unallocated: Unallocated
    accepts_health_checks: bool
    node_ports_default: tuple[str, ...]
    """nodePortAddresses when none are configured: () every local address, or `primary`."""
    loopback_needs_listing: bool
    """Whether loopback takes NodePorts only where nodePortAddresses lists it (nftables), or by default (iptables)."""


class Settings(Value, frozen=True):
    """The part of the configuration that decides packets."""

    local_detection: LocalDetection = LocalDetection.CLUSTER_CIDR
    cluster_cidrs: tuple[Network, ...] = ()
    bridge_interface: str = ""
    interface_prefix: str = ""
    masquerade_all: bool = False
    masquerade_bit: int = 14
    node_port_addresses: tuple[Network | str, ...] | None = None
    """Networks, or the word `primary`; None: the backend's default."""
    localhost_node_ports: bool = True
    allow_external_ips: bool = True
    reject_unlisted: bool | None = None
    """Our option: reject unlisted ports of ClusterIPs in every backend; None: the backend's default."""
    tcp_be_liberal: bool = False
    ipvs: Ipvs = Ipvs()
    egress_masquerade: bool = False
    """Our option: connections of pods to the outside leave with the node's address."""
    non_masquerade: tuple[Network, ...] = ()
    """Where they do not, both families; none of a family: the default of `core/egress.py`."""


class Host(Value, frozen=True):
    """Facts about the machine: its node's name, its primary addresses, and every address on its interfaces.

    `primary` holds at most one address per family (bindAddress or --node-ip);
    where it is silent, the Node object's first address of the family counts.
    """

    node: str
    primary: tuple[str, ...] = ()
    addresses: frozenset[str] = frozenset()
    """Addresses on interfaces, both families, canonical, loopback included."""
