"""What will differ when one proxy's rules follow another's on a node: found by comparing the two plans.

Rules kept: kube-proxy's modes have the traits of our backends of the same name, so what differs between modes is read
from the plans; where kproxy differs from kube-proxy on purpose, a check says so by itself. What nobody here meets is
not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kproxy.core.migration import IPVS, NFTABLES, Both, Item, Way, Weight, named
from kproxy.core.plan import Action, Client, Frontend, FrontendKind, NodePlan, PortPlan, Unallocated, Unlisted
from kproxy.core.values import Family, address_number


def is_node_port(_port: PortPlan, frontend: Frontend) -> bool:
    """Whether a frontend is a NodePort."""
    return frontend.kind is FrontendKind.NODE_PORT


def is_cluster_ip(_port: PortPlan, frontend: Frontend) -> bool:
    """Whether a frontend is a ClusterIP."""
    return frontend.kind is FrontendKind.CLUSTER


def _listed(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses, key=address_number))


def _node_port_addresses(both: Both) -> Iterator[Item]:
    services, before, after = both.with_frontend(is_node_port), both.local(both.old), both.local(both.new)
    narrowed = both.old.node_ports is None and both.new.node_ports is not None
    if services and (narrowed or before - after):
        lost = _listed(before - after)
        every = f"every address of the node{f' (here {lost} too)' if lost else ''}" if narrowed else lost
        yield Item(
            "node-port-addresses",
            Weight.LOST,
            f"NodePorts answer on {_listed(after) or 'no address'} only, no more on {every}",
            "name the networks whose addresses take NodePorts in nodePortAddresses, 0.0.0.0/0 and ::/0 for all",
            services,
        )
    if services and after - before:
        yield Item(
            "node-port-addresses-more",
            Weight.NEW,
            f"NodePorts answer on {_listed(after - before)} too",
            "name the networks whose addresses take NodePorts in nodePortAddresses, or `primary`",
            services,
        )


def _localhost(both: Both) -> Iterator[Item]:
    services = both.with_frontend(is_node_port)
    if services and both.old.loopback_node_ports and not both.new.loopback_node_ports:
        yield Item(
            "localhost-node-ports",
            Weight.LOST,
            "programs on this node no longer reach NodePorts on 127.0.0.1",
            "connect to the node's own address"
            if both.way.new == IPVS
            else "list 127.0.0.0/8 in nodePortAddresses, beside the other networks, or connect to the node's address",
            services,
        )
    if services and both.new.loopback_node_ports and not both.old.loopback_node_ports:
        yield Item(
            "localhost-node-ports-open",
            Weight.NEW,
            "NodePorts answer on 127.0.0.1, and net.ipv4.conf.all.route_localnet is set",
            "set iptables.localhostNodePorts: false if nobody needs that",
            services,
        )


def _accepted(both: Both) -> Iterator[Item]:
    checked = [one for one in both.new.services.values() if one.health_check is not None]
    if checked and both.old.accepts_health_checks and not both.new.accepts_health_checks:
        ports = ", ".join(str(one.health_check.port) for one in checked if one.health_check is not None)
        yield Item(
            "health-check-accept",
            Weight.LOST,
            f"no rule admits the health-check ports of load balancers any more: {ports}/TCP",
            "let the host's firewall admit them from the load balancers",
            named(checked),
        )
    if both.way.new == NFTABLES and both.changes_backend and both.new.services:
        yield Item(
            "forward-accept",
            Weight.LOST,
            "no rule accepts forwarded Service traffic any more: nftables cannot overrule a drop of another table",
            "where the host's firewall drops forwarded packets, let it accept those with `ct status dnat`",
        )


def _unlisted(both: Both) -> Iterator[Item]:
    services = both.with_frontend(is_cluster_ip)
    if services and both.old.unlisted is not both.new.unlisted:
        refused = both.new.unlisted is Unlisted.REJECT
        yield Item(
            "unlisted-ports",
            Weight.DIFFERS,
            "a ClusterIP's ports that its Service does not list are refused at once"
            if refused
            else "packets to a ClusterIP's ports that its Service does not list leave the node as they are",
            "nothing, unless somebody relied on it" if refused else "rejectUnlistedPorts: true refuses them as before",
        )
    if both.new.cluster_ranges and both.old.unallocated is not both.new.unallocated:
        dropped = both.new.unallocated is Unallocated.DROP
        ranges = ", ".join(map(str, both.new.cluster_ranges))
        yield Item(
            "unallocated-addresses",
            Weight.DIFFERS,
            f"packets to addresses of {ranges} that no Service has are {'dropped' if dropped else 'no longer dropped'}",
            "look whether anything but Services lives in these ranges" if dropped else "nothing: they are routed on",
        )


def _vips(both: Both) -> Iterator[Item]:
    if not both.changes_backend or not any(both.with_frontend(lambda _, one: one.address is not None)):
        return
    if both.way.old == IPVS:
        yield Item(
            "vips-not-local",
            Weight.LOST,
            "Services' addresses are no longer the node's own: they do not answer ping, and no program can bind them",
            "probe a port of the Service instead of pinging it",
        )
    elif both.way.new == IPVS:
        yield Item(
            "vips-local",
            Weight.NEW,
            "Services' addresses become the node's own, on a link of ours: they answer ping",
            "nothing; ports that no Service lists are refused there, so no program of the host is reached",
        )


def _scheduler(both: Both) -> Iterator[Item]:
    if not both.changes_backend or not both.new.services or IPVS not in (both.way.old, both.way.new):
        return
    own = named(one for one in both.new.services.values() if one.scheduler)
    default = both.old.ipvs.scheduler
    if both.way.old == IPVS:
        yield Item(
            "scheduler",
            Weight.LOST if own or default != "rr" else Weight.DIFFERS,
            f"endpoints are chosen at random instead of by IPVS's scheduler ({default})",
            "stay with ipvs where the choice by load or by hash matters",
            own,
        )
    else:
        yield Item(
            "scheduler",
            Weight.DIFFERS,
            f"endpoints are chosen by IPVS's scheduler ({default}) instead of at random",
            "set ipvs.scheduler, or the annotation kproxy.io/ipvs-scheduler of a Service",
        )


def _draining(both: Both) -> Iterator[Item]:
    """Only our IPVS backend sets an end; kube-proxy's ipvs mode waits for TCP as long as it takes."""
    did_end, will_end = both.way.old == IPVS and not both.way.is_of_kube_proxy, both.way.new == IPVS
    if not both.new.services or did_end == will_end:
        return
    ends = f"after drainTimeout ({both.new.ipvs.drain_s} s)"
    if will_end:
        yield Item(
            "draining",
            Weight.DIFFERS,
            f"TCP connections to an endpoint that leaves are ended {ends}; those that stand already go on without end",
            "set drainTimeout, or the annotation kproxy.io/drain-timeout of a Service",
        )
    else:
        yield Item(
            "draining",
            Weight.DIFFERS,
            f"TCP connections to an endpoint that leaves go on until they end by themselves; IPVS's own end {ends}",
            "set the annotation kproxy.io/tcp-drain-seconds of a Service to end them",
        )


def _affinity(both: Both) -> Iterator[Item]:
    keeping = [one for one in both.new.services.values() if any(port.affinity_s for port in one.ports)]
    if not keeping or not (both.changes_backend or both.way.is_of_kube_proxy):
        return
    yield Item(
        "affinity-memory",
        Weight.DIFFERS,
        "which client was sent to which endpoint is not carried over: a client's next connection may meet another one",
        "change when few sessions are open, or keep sessions in the application; established connections go on",
        named(keeping),
    )
    if both.changes_backend and IPVS in (both.way.old, both.way.new):
        each = "each address and port" if both.way.new == IPVS else "all addresses and ports of a Service port together"
        yield Item(
            "affinity-scope",
            Weight.DIFFERS,
            f"a client is kept at its endpoint for {each}",
            "nothing, unless clients use several addresses of one Service",
            named(keeping),
        )


def _kube_proxys_faults(both: Both) -> Iterator[Item]:
    """In what kproxy differs from kube-proxy on purpose."""
    if not both.way.is_of_kube_proxy:
        return
    closed = both.with_frontend(lambda _, one: one.allow_from == ())
    if closed:
        yield Item(
            "source-ranges-of-one-family",
            Weight.LOST,
            f"loadBalancerSourceRanges without any range of {both.new.family.label} close that family, unlike "
            "kube-proxy's",
            "add ranges of that family to those Services whose clients use it",
            closed,
        )
    if both.new.conflicts:
        losers = tuple(sorted({str(one.loser) for one in both.new.conflicts}))
        yield Item(
            "claims",
            Weight.DIFFERS,
            "of two Services that claim one address and port the older one has it",
            "`kproxy services` names both; give one of them another address or port",
            losers,
        )
    fallen = both.with_frontend(lambda port, one: _drops_strangers(port, one.kind))
    if both.way.old == IPVS and fallen:
        yield Item(
            "local-without-endpoints",
            Weight.LOST,
            "policy Local without endpoints on this node drops, where kube-proxy's ipvs mode sends to other nodes",
            "let the load balancer ask healthCheckNodePort, or use policy Cluster",
            fallen,
        )


def _drops_strangers(port: PortPlan, kind: FrontendKind) -> bool:
    return any(route.client is Client.ANY and route.action is Action.DROP for route in port.routes(kind))


def _egress(both: Both) -> Iterator[Item]:
    if both.way.is_of_kube_proxy and both.new.egress is not None:
        yield Item(
            "egress",
            Weight.NEW,
            "connections of pods to the outside leave with the node's address, as egressMasquerade asks",
            "leave it off where the CNI plugin does so already",
        )


CHECKS: Final = (
    _node_port_addresses,
    _localhost,
    _accepted,
    _unlisted,
    _vips,
    _scheduler,
    _draining,
    _affinity,
    _kube_proxys_faults,
    _egress,
)
ORDER: Final = {Weight.LOST: 0, Weight.DIFFERS: 1, Weight.NEW: 2}


def differences(
    way: Way, old: Mapping[Family, NodePlan], new: Mapping[Family, NodePlan], addresses: frozenset[str]
) -> tuple[Item, ...]:
    """All that will differ, the gravest first; what both families meet is told once."""
    found: dict[str, Item] = {}
    for family in new:
        both = Both(way, old[family], new[family], addresses)
        for item in (one for check in CHECKS for one in check(both)):
            known = found.get(item.code)
            found[item.code] = item if known is None else _merged(known, item)
    return tuple(sorted(found.values(), key=lambda one: ORDER[one.weight]))


def _merged(one: Item, other: Item) -> Item:
    what = one.what if other.what == one.what else f"{one.what}; {other.what}"
    weight = min(one.weight, other.weight, key=ORDER.__getitem__)
    return Item(one.code, weight, what, one.remedy, tuple(sorted({*one.services, *other.services})))
