"""From a snapshot to the NodePlan of one family: every Kubernetes decision is taken here.

A plan is a function of its inputs. `previous` only saves work: what was planned
from the very same objects is taken over, so that a change costs the changed
Services and a few passes over pointers, and unchanged parts stay identical.

Behaviour is kube-proxy 1.36's but for its defects; a Service of no ClusterIP in
a family does not exist there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping

from kproxy.core.changes import Edited, changed_keys
from kproxy.core.claims import Claim, Ledger, Scope, amend, health_check_port, reachable_at, settle, wishes
from kproxy.core.egress import egress_of
from kproxy.core.endpoints import Place, choose_pools, count_local_ready, gather
from kproxy.core.host import Host, Settings, Traits
from kproxy.core.model import NO_NAMESPACE, Service, ServiceCIDR, ServicePort
from kproxy.core.networks import collapsed, of_family
from kproxy.core.node_facts import (
    loopback_takes_node_ports,
    node_port_addresses,
    pods_of,
    primary_address,
)
from kproxy.core.plan import (
    Action,
    Frontend,
    FrontendKind,
    HealthCheck,
    NodePlan,
    PortPlan,
    ServicePlan,
    Unlisted,
)
from kproxy.core.routes import REFUSED, Sight, Supply, external_routes, internal_routes, uses
from kproxy.core.snapshot import Slices, Snapshot
from kproxy.core.values import Family, Network, ObjectKey, Protocol, Value, network_contains


class View(Value, frozen=True):
    """All that a ServicePlan depends on beside the Service, its slices and the claims it lost."""

    scope: Scope
    place: Place
    sight: Sight
    primary: str | None
    """The node's primary address of the family: a source range that holds it admits the VIP itself."""


class Planned(Value, frozen=True):
    """A plan, and the inputs it came from, so that the next one can reuse its parts."""

    plan: NodePlan
    view: View
    ledger: Ledger
    services: Mapping[ObjectKey, Service]
    slices: Mapping[ObjectKey, Slices]


def plan_node(
    snapshot: Snapshot, settings: Settings, host: Host, traits: Traits, family: Family, previous: Planned | None
) -> Planned:
    """The plan of one family for the node `host.node`; equal to that of `previous=None`.

    `snapshot` need not hold the Node: until it does, zone hints are not
    followed and what hangs on its addresses or PodCIDRs is closed or off.
    """
    node = snapshot.nodes.get(ObjectKey(NO_NAMESPACE, host.node))
    pods = pods_of(settings, node, family)
    primary = primary_address(host, node, family)
    view = View(
        Scope(family, settings.allow_external_ips),
        Place(host.node, node.zone if node else ""),
        Sight(pods is not None, settings.masquerade_all),
        primary,
    )
    ledger, services = _plan_services(snapshot, view, previous)
    cluster_ranges = _cluster_ranges(snapshot.service_cidrs.values(), family)
    egress, no_egress = egress_of(settings, pods, node, cluster_ranges, family)
    plan = NodePlan(
        family=family,
        services=services,
        conflicts=ledger.conflicts,
        pods=pods,
        node_ports=node_port_addresses(settings, traits, host, primary, family),
        loopback_node_ports=loopback_takes_node_ports(settings, traits, family),
        cluster_ranges=cluster_ranges,
        unlisted=_unlisted(settings, traits),
        unallocated=traits.unallocated,
        accepts_health_checks=traits.accepts_health_checks,
        masquerade_bit=settings.masquerade_bit,
        drop_invalid=not settings.tcp_be_liberal,
        ipvs=settings.ipvs,
        egress=egress,
        no_egress=no_egress,
    )
    if previous and services is previous.plan.services and plan == previous.plan:
        plan = previous.plan
    return Planned(plan, view, ledger, snapshot.services, snapshot.slices)


def _plan_services(
    snapshot: Snapshot, view: View, previous: Planned | None
) -> tuple[Ledger, Mapping[ObjectKey, ServicePlan]]:
    if previous is None:
        ledger = settle(snapshot.services, view.scope)
        return ledger, _patch({}, snapshot.services, snapshot, view, ledger)
    edited = changed_keys(previous.services, snapshot.services)
    if previous.view.scope != view.scope:
        ledger = settle(snapshot.services, view.scope)
    elif edited:
        ledger = amend(previous.ledger, previous.services, snapshot.services, edited)
    else:
        ledger = previous.ledger
    if previous.view != view:
        affected: Collection[ObjectKey] = previous.services.keys() | snapshot.services.keys()
    else:
        affected = edited | changed_keys(previous.slices, snapshot.slices) | _moved(previous.ledger, ledger)
    return ledger, _patch(previous.plan.services, affected, snapshot, view, ledger)


def _moved(before: Ledger, after: Ledger) -> frozenset[ObjectKey]:
    """The Services whose lost claims are not what they were."""
    if before is after:
        return frozenset()
    return frozenset(key for key, _ in before.lost.items() ^ after.lost.items())


def _patch(
    known: Mapping[ObjectKey, ServicePlan],
    affected: Iterable[ObjectKey],
    snapshot: Snapshot,
    view: View,
    ledger: Ledger,
) -> Mapping[ObjectKey, ServicePlan]:
    """`known` with the affected Services planned anew, in key order; `known` itself if no plan changed."""
    planned = {key: _plan_known(key, snapshot, view, ledger) for key in affected}
    changed = {key: plan for key, plan in planned.items() if known.get(key) != plan}
    if not changed:
        return known
    if all(plan is not None for plan in changed.values()) and changed.keys() <= known.keys():
        return Edited(known, {key: plan for key, plan in changed.items() if plan is not None})
    merged = {**known, **changed}
    return {key: plan for key in sorted(merged) if (plan := merged[key]) is not None}


def _plan_known(key: ObjectKey, snapshot: Snapshot, view: View, ledger: Ledger) -> ServicePlan | None:
    service = snapshot.services.get(key)
    if service is None:
        return None
    return plan_service(service, snapshot.slices.get(key, {}), ledger.lost.get(key, frozenset()), view)


def plan_service(service: Service, slices: Slices, lost: frozenset[Claim], view: View) -> ServicePlan | None:
    """The plan of one Service without the claims it lost; None if it has no frontend and no health check here."""
    at = reachable_at(service, view.scope)
    if not at:
        return None
    taken = set(lost)
    ports = []
    for port in service.ports:
        frontends = _frontends(service, port, at, taken, view)
        if frontends:
            ports.append(_plan_port(service, port, frontends, slices, view))
    health = _health_check(service, slices, taken, view)
    if not ports and not health:
        return None
    return ServicePlan(service.key, tuple(ports), health, service.tcp_drain_s, service.scheduler, service.drain_s)


def _frontends(
    service: Service, port: ServicePort, at: Iterable[tuple[FrontendKind, str]], taken: set[Claim], view: View
) -> tuple[Frontend, ...]:
    """The port's frontends whose place is free; they are then taken."""
    frontends = []
    for kind, address, number in wishes(at, port):
        claim = (address or "", number, port.protocol)
        if claim in taken:
            continue
        taken.add(claim)
        fenced = kind is FrontendKind.LOAD_BALANCER and address and service.source_ranges is not None
        allow_from = _allow_from(service.source_ranges or (), address or "", view) if fenced else None
        frontends.append(Frontend(kind, address, number, allow_from))
    return tuple(frontends)


def _allow_from(ranges: Iterable[Network], vip: str, view: View) -> tuple[Network, ...] | None:
    """The ranges of this family, none overlapping; a list of the other family only admits nobody."""
    own = of_family(ranges, view.scope.family)
    if any(one.prefixlen == 0 for one in own):
        return None
    if view.primary and any(network_contains(one, view.primary) for one in own):
        # A packet from the node to a VIP that stands on one of its interfaces has the VIP as its source.
        own = (*own, ipaddress.ip_network(vip))
    return collapsed(own, view.scope.family)


def _plan_port(
    service: Service, port: ServicePort, frontends: tuple[Frontend, ...], slices: Slices, view: View
) -> PortPlan:
    pools = choose_pools(gather(slices.values(), view.scope.family, port, view.place), view.place)
    supply = Supply(anywhere=bool(pools.cluster), here=bool(pools.local))
    scopes = {frontend.kind.is_internal for frontend in frontends}
    internal = internal_routes(service.internal_policy, supply, view.sight) if True in scopes else REFUSED
    external = external_routes(service.external_policy, supply, view.sight) if False in scopes else REFUSED
    tables = (internal, external)
    return PortPlan(
        name=port.name,
        protocol=port.protocol,
        frontends=frontends,
        affinity_s=service.affinity_s,
        cluster=pools.cluster if uses(tables, Action.CLUSTER) else (),
        local=pools.local if uses(tables, Action.LOCAL) else (),
        serving=pools.serving,
        internal=internal,
        external=external,
    )


def _health_check(service: Service, slices: Slices, taken: Collection[Claim], view: View) -> HealthCheck | None:
    number = health_check_port(service)
    if not number or ("", number, Protocol.TCP) in taken:
        return None
    ready = count_local_ready(slices.values(), view.scope.family, service.ports, view.place)
    return HealthCheck(number, ready)


def _cluster_ranges(service_cidrs: Iterable[ServiceCIDR], family: Family) -> tuple[Network, ...]:
    return collapsed((cidr for one in service_cidrs for cidr in one.cidrs), family)


def _unlisted(settings: Settings, traits: Traits) -> Unlisted:
    if settings.reject_unlisted is None:
        return traits.unlisted
    return Unlisted.REJECT if settings.reject_unlisted else Unlisted.PASS
