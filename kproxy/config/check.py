"""What a valid configuration leaves to be desired: kube-proxy's soft warnings, and ours, each with its remedy.

kube-proxy logs such things at its start and goes on (cmd/kube-proxy/app/server.go, 1.36: checkBadConfig and
checkBadIPConfig); whoever checks a file before it is rolled out wants to hear of them then.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from kproxy.config.listeners import Listener, healthz_listener, metrics_listener, without_address
from kproxy.config.load import Config
from kproxy.core.host import PRIMARY, LocalDetection
from kproxy.core.networks import of_family
from kproxy.core.values import Family, Network, Value, network_contains


class Finding(Value, frozen=True):
    """Something that works and is not as it should be."""

    field: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}; {self.remedy}"


def findings(config: Config) -> tuple[Finding, ...]:
    """What is to be said of a valid configuration."""
    return tuple(finding for check in CHECKS for finding in check(config))


def _node_ports(config: Config) -> Iterator[Finding]:
    field, entries = "nodePortAddresses", config.settings_for(config.proxy.mode or "iptables").node_port_addresses
    if entries is None:
        if config.proxy.mode != "nftables":
            text = "unset, so NodePorts answer on every address of the node"
            yield Finding(field, text, "set it to [primary], or to the networks that clients come through")
        return
    networks = [one for one in entries if not isinstance(one, str)]
    families = {Family(one.version) for one in networks}
    if PRIMARY not in entries and len(families) == 1:
        (given,) = families
        other = _other(given)
        text = f"only {given.label} networks, so NodePorts answer on every {other.label} address of the node"
        if other in _families_in_use(config):
            yield Finding(field, text, f"add {other.label} networks, or use [primary]")
    for one in networks:
        if one.prefixlen == 0 and PRIMARY in entries:
            yield Finding(field, f"{one} makes primary pointless", "leave one of them out")


def _cluster_cidr(config: Config) -> Iterator[Finding]:
    field, networks = "clusterCIDR", config.proxy.cluster_cidr
    if config.proxy.detect_local_mode != LocalDetection.CLUSTER_CIDR:
        return
    if not networks:
        text = "unset with detectLocalMode ClusterCIDR, so no pod can be told from other clients"
        yield Finding(field, text, "set it to the cluster's pod networks, or set another detectLocalMode")
        return
    given = {Family(one.version) for one in networks}
    for family in sorted(_families_in_use(config) - given):
        text = f"no {family.label} network, so {family.label} pods cannot be told from other clients"
        yield Finding(field, text, f"add the cluster's {family.label} pod network")


def _egress(config: Config) -> Iterator[Finding]:
    """Egress masquerade that does nothing, or reaches what it is hardly meant for."""
    egress, clusters = config.own.egress_masquerade, config.proxy.cluster_cidr
    field, exempt = "egressMasquerade.nonMasqueradeCIDRs", egress.non_masquerade_cidrs
    if not egress.enabled:
        if exempt:
            yield Finding(field, "without effect", "set egressMasquerade.enabled to true, or leave the list out")
        return
    if config.proxy.detect_local_mode == LocalDetection.CLUSTER_CIDR and not clusters:
        text = "no pod can be told from other clients, so nothing is masqueraded"
        yield Finding("egressMasquerade.enabled", text, "set clusterCIDR, or another detectLocalMode")
        return
    known = {Family(one.version) for one in (*exempt, *clusters)}
    for family in sorted((_families_in_use(config) or set(Family)) - known):
        text = f"no {family.label} network, nor has clusterCIDR one, so no {family.label} connection is masqueraded"
        yield Finding(field, text, f"name the {family.label} networks that are to see pods' own addresses")
    for cluster in clusters:
        if of_family(exempt, Family(cluster.version)) and not any(_holds(one, cluster) for one in exempt):
            text = f"clusterCIDR {cluster} is not in it, so pods on other nodes see this node's address"
            yield Finding(field, text, f"add {cluster}")
    for one in exempt:
        if one.prefixlen == 0:
            yield Finding(field, f"{one} exempts every destination", "leave it out")


def _holds(network: Network, other: Network) -> bool:
    return network.prefixlen <= other.prefixlen and network_contains(network, str(other.network_address))


def _bind_address(config: Config) -> Iterator[Finding]:
    """Main addresses and listeners of different families."""
    if not config.primary:
        return
    family = Family(ipaddress.ip_address(config.primary[0]).version)
    for name, place in (
        ("healthzBindAddress", healthz_listener(config)),
        ("metricsBindAddress", metrics_listener(config)),
    ):
        if place is not None and not _is_any(place) and not place.is_loopback and _family(place) is not family:
            text = f"{place} is not {family.label}, as bindAddress is"
            yield Finding(name, text, f"give an {family.label} address if the node has no other")


def _exposed(config: Config) -> Iterator[Finding]:
    """Metrics and debug pages that others can read."""
    place = metrics_listener(config)
    if place is not None and not place.is_loopback and config.proxy.enable_profiling:
        text = f"/debug is served on {place} with all that is known of the cluster's Services"
        yield Finding("enableProfiling", text, "set it to false: on this node /debug/ and kproxy status still work")


def _one_place(config: Config) -> Iterator[Finding]:
    health, metrics = healthz_listener(config), metrics_listener(config)
    if health is None or metrics is None or health.port != metrics.port:
        return
    if health.address == metrics.address or _is_any(health) or _is_any(metrics):
        text = f"{metrics} is taken by healthzBindAddress ({health})"
        yield Finding("metricsBindAddress", text, "give them different ports")


def _instance(config: Config) -> Iterator[Finding]:
    """What an instance does not have by itself, and a backend that serves one agent on a node only."""
    for field in without_address(config):
        text = f"unset, so {config.instance} does not serve it: the default address is that of the agent without a name"
        yield Finding(field, text, 'give an address with a port of its own, or ""')
    if config.instance and config.proxy.mode == "ipvs":
        yield Finding(
            "mode", "ipvs serves one agent on a node, which is the one without a name", "use nftables or iptables"
        )


def _gap(config: Config) -> Iterator[Finding]:
    """kube-proxy's default of a second, written out by most installers, slows every change down."""
    pacing = config.pacing_for(config.proxy.mode or "iptables")
    if pacing.min_gap_s >= 1:
        text = f"a change may wait {pacing.min_gap_s:g} s for the one before it"
        yield Finding(f"{config.proxy.mode or 'iptables'}.minSyncPeriod", text, "leave it out: syncs are small here")


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    _node_ports,
    _cluster_cidr,
    _egress,
    _bind_address,
    _exposed,
    _one_place,
    _instance,
    _gap,
)


def _families_in_use(config: Config) -> set[Family]:
    """The families that the configuration itself speaks of."""
    networks = [*config.proxy.cluster_cidr, *config.proxy.ipvs.exclude_cidrs]
    networks += config.own.egress_masquerade.non_masquerade_cidrs
    networks += [one for entry in config.proxy.node_port_addresses for one in entry if not isinstance(one, str)]
    return {Family(one.version) for one in networks}


def _other(family: Family) -> Family:
    return Family.IPV6 if family is Family.IPV4 else Family.IPV4


def _is_any(place: Listener) -> bool:
    return ipaddress.ip_address(place.address).is_unspecified


def _family(place: Listener) -> Family:
    return Family(ipaddress.ip_address(place.address).version)
