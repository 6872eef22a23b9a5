"""The packets that some of our rules have met, as `iptables -v -S` tells them, under kube-proxy's names. Pure.

kube-proxy counts them by nfacct objects that its rules name; ours are read from
the rules' own counters, so that nothing but the rules is needed. A chain that
is written anew begins at 0, which Prometheus takes for what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from backends.iptables.base import DROP_INVALID, loopback_node_ports
from backends.iptables.names import FORWARD, SERVICES
from kproxy.core.chains import ChainId
from kproxy.core.values import Family

INVALID_DROPPED: Final = "kubeproxy_iptables_ct_state_invalid_dropped_packets_total"
LOOPBACK_ACCEPTED: Final = "kubeproxy_iptables_localhost_nodeports_accepted_packets_total"

WHERE: Final[Mapping[Family, tuple[ChainId, ...]]] = {Family.IPV4: (FORWARD, SERVICES), Family.IPV6: (FORWARD,)}
"""The chains to list. NodePorts are never on ::1."""


def packets(listing: str) -> Mapping[str, int]:
    """Packets by rule, from lines `-A CHAIN rule -c PACKETS BYTES target`; others are passed over."""
    found: dict[str, int] = {}
    for line in listing.splitlines():
        words = line.split()
        at = words.index("-c") if "-c" in words else 0
        if words[:1] == ["-A"] and at and len(words) > at + 2 and words[at + 1].isdigit():
            found[" ".join([*words[2:at], *words[at + 3 :]])] = int(words[at + 1])
    return found


def counts(family: Family, listings: Mapping[ChainId, str]) -> Mapping[str, int]:
    """The counters of a family by metric; what enters the NodePorts by loopback and does not return was accepted."""
    found = {INVALID_DROPPED: packets(listings[FORWARD]).get(DROP_INVALID, 0)}
    if SERVICES in listings:
        enters, returns = loopback_node_ports(family)
        met = packets(listings[SERVICES])
        found[LOOPBACK_ACCEPTED] = max(met.get(enters, 0) - met.get(returns, 0), 0)
    return found
