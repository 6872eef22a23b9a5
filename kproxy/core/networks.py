"""Lists of networks, one family at a time."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from kproxy.core.values import Family, Network


def of_family(networks: Iterable[Network], family: Family) -> tuple[Network, ...]:
    """The networks of one family, in their order."""
    return tuple(network for network in networks if network.version == family)


def collapsed(networks: Iterable[Network], family: Family) -> tuple[Network, ...]:
    """The family's networks, sorted, none overlapping or adjacent: what an interval set takes as it stands."""
    every = list(networks)
    if family is Family.IPV4:
        return tuple(ipaddress.collapse_addresses(one for one in every if isinstance(one, ipaddress.IPv4Network)))
    return tuple(ipaddress.collapse_addresses(one for one in every if isinstance(one, ipaddress.IPv6Network)))
