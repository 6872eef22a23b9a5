"""The node's view of each Service: frontends, routes, and every endpoint with the reason why it is in or out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kproxy.core.model import Service
from kproxy.core.plan import Action, Conflict, Frontend, NodePlan, PortPlan, Route, ServicePlan
from kproxy.core.planner import Planned
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.core.why import EndpointStory, PortStory, Standing, explain_endpoints
from kproxy.ports import Unsupported
from kproxy.report.flows import endpoint_text


class PortView(Value, frozen=True):
    """A Service port's plan, and why its endpoints are in or out."""

    plan: PortPlan
    story: PortStory

    @property
    def pools(self) -> frozenset[Action]:
        """The pools that a route leads to."""
        rows = (*self.plan.internal, *self.plan.external)
        return frozenset(row.action for row in rows if not row.action.refuses)

    def standing(self, endpoint: EndpointStory, pool: Action) -> Standing:
        """An endpoint's standing in a pool."""
        return endpoint.local if pool is Action.LOCAL else endpoint.cluster

    def is_used(self, endpoint: EndpointStory) -> bool:
        """Whether some client may be sent there."""
        return any(self.standing(endpoint, pool).chosen for pool in self.pools)


class ServiceView(Value, frozen=True):
    """One Service in one family, as this node sees it."""

    service: Service
    family: Family
    plan: ServicePlan
    ports: tuple[PortView, ...]
    lost: tuple[Conflict, ...]
    """Claims that other Services have won."""


def view_services(
    snapshot: Snapshot, plans: Mapping[Family, Planned], only: ObjectKey | None = None
) -> Iterator[ServiceView]:
    """The Services in key order, each in every family that it has; with `only`, one of them."""
    keys = sorted({key for planned in plans.values() for key in planned.plan.services if only in (None, key)})
    for key in keys:
        for family, planned in plans.items():
            plan = planned.plan.services.get(key)
            if plan is not None:
                yield _view(snapshot, family, planned, plan)


def _view(snapshot: Snapshot, family: Family, planned: Planned, plan: ServicePlan) -> ServiceView:
    service = snapshot.services[plan.service]
    named = {(port.name, port.protocol): port for port in service.ports}
    slices = snapshot.slices.get(plan.service, {}).values()
    ports = tuple(
        PortView(one, explain_endpoints(slices, family, named[one.name, one.protocol], planned.view.place))
        for one in plan.ports
    )
    lost = tuple(conflict for conflict in planned.plan.conflicts if conflict.loser == plan.service)
    return ServiceView(service, family, plan, ports, lost)


HEADINGS = ("SERVICE", "FAMILY", "TYPE", "FRONTENDS", "ENDPOINTS", "REMARKS")
WIDE_HEADINGS = ("SERVICE", "FAMILY", "TYPE", "INTERNAL", "EXTERNAL", "AFFINITY", *HEADINGS[3:])


def service_rows(views: Iterable[ServiceView], *, wide: bool) -> Iterator[Sequence[str]]:
    """A row per Service and family."""
    for view in views:
        service = view.service
        first = (str(service.key), view.family.label, service.type.value)
        policies = (service.internal_policy.value, service.external_policy.value, affinity_text(service.affinity_s))
        last = (", ".join(_frontends(view)), _endpoints(view), "; ".join(remarks(view)))
        yield (*first, *policies, *last) if wide else (*first, *last)


def affinity_text(affinity_s: int) -> str:
    """`none`, or for how long a client keeps its endpoint."""
    return f"{affinity_s} s" if affinity_s else "none"


def _frontends(view: ServiceView) -> Iterator[str]:
    for port in view.ports:
        for frontend in port.plan.frontends:
            yield f"{frontend_text(frontend)}/{port.plan.protocol}"


def frontend_text(frontend: Frontend) -> str:
    """`198.51.100.1:80`, or `NodePort 30080`."""
    if frontend.address is None:
        return f"NodePort {frontend.port}"
    return endpoint_text(frontend.address, frontend.port)


def _endpoints(view: ServiceView) -> str:
    every = {one.address for port in view.ports for one in port.story.endpoints}
    used = {one.address for port in view.ports for one in port.story.endpoints if port.is_used(one)}
    return f"{len(used)} of {len(every)}"


def remarks(view: ServiceView) -> Iterator[str]:
    """What is out of the ordinary about a Service, in a few words each."""
    for conflict in view.lost:
        yield f"lost {conflict.claim} to {conflict.winner}"
    if any(not port.plan.serving for port in view.ports):
        yield "no endpoint serves: connections are refused"
    out = {
        (one.address, one.cluster.why)
        for port in view.ports
        for one in port.story.endpoints
        if Action.CLUSTER in port.pools and not one.cluster.chosen
    }
    counts = Counter(why.partition("; ")[0] for _, why in sorted(out))
    yield from (f"{count} {why}" for why, count in counts.items())
    yield from dict.fromkeys(note for port in view.ports for note in port.story.notes if "ignored" in note)


def plan_json(
    node: str,
    backend: str,
    plans: Mapping[Family, Planned],
    views: Iterable[ServiceView],
    unsupported: Mapping[Family, Iterable[Unsupported]],
) -> object:
    """The whole plan as plain data."""
    views = list(views)
    families = [
        {
            **family_json(planned.plan, unsupported.get(family, ())),
            "services": [service_json(view) for view in views if view.family is family],
        }
        for family, planned in plans.items()
    ]
    return {"node": node, "backend": backend, "families": families}


def _unsupported_json(one: Unsupported) -> Mapping[str, object]:
    return {"service": str(one.service) if one.service else None, "what": one.what, "instead": one.instead}


def family_json(plan: NodePlan, unsupported: Iterable[Unsupported]) -> Mapping[str, object]:
    """What holds for all Services of a family, and what of the plan the backend leaves out."""
    pods = plan.pods
    return {
        "family": plan.family.label,
        "pods": [str(network) for network in pods] if isinstance(pods, tuple) else pods,
        "nodePortAddresses": None if plan.node_ports is None else sorted(plan.node_ports),
        "loopbackNodePorts": plan.loopback_node_ports,
        "clusterRanges": [str(network) for network in plan.cluster_ranges],
        "unlisted": plan.unlisted.value,
        "unallocated": plan.unallocated.value,
        "masqueradeMark": f"{plan.masquerade_mark:#x}",
        "unsupported": [_unsupported_json(one) for one in unsupported],
        "egress": {"nonMasquerade": [str(network) for network in plan.egress.exempt]} if plan.egress else None,
        "noEgress": plan.no_egress,
        "conflicts": [
            {"claim": one.claim, "loser": str(one.loser), "winner": str(one.winner)} for one in plan.conflicts
        ],
    }


def service_json(view: ServiceView) -> Mapping[str, object]:
    """One Service in one family as plain data."""
    health = view.plan.health_check
    return {
        "service": str(view.service.key),
        "family": view.family.label,
        "type": view.service.type.value,
        "internalTrafficPolicy": view.service.internal_policy.value,
        "externalTrafficPolicy": view.service.external_policy.value,
        "affinitySeconds": view.service.affinity_s,
        "healthCheck": {"port": health.port, "localReady": health.local_ready} if health else None,
        "ports": [_port_json(port) for port in view.ports],
        "remarks": list(remarks(view)),
    }


def _port_json(port: PortView) -> Mapping[str, object]:
    return {
        "name": port.plan.name,
        "protocol": port.plan.protocol.value,
        "frontends": [
            {
                "kind": one.kind.value,
                "address": one.address,
                "port": one.port,
                "allowFrom": None if one.allow_from is None else [str(network) for network in one.allow_from],
            }
            for one in port.plan.frontends
        ],
        "internal": [_route_json(row) for row in port.plan.internal],
        "external": [_route_json(row) for row in port.plan.external],
        "endpoints": [_endpoint_json(one) for one in port.story.endpoints],
        "notes": list(port.story.notes),
    }


def _route_json(row: Route) -> Mapping[str, object]:
    return {"client": row.client.value, "masquerade": row.masquerade, "action": row.action.value}


def _endpoint_json(one: EndpointStory) -> Mapping[str, object]:
    return {
        "address": one.address,
        "port": one.port,
        "node": one.node,
        "isLocal": one.is_local,
        "cluster": {"chosen": one.cluster.chosen, "why": one.cluster.why},
        "local": {"chosen": one.local.chosen, "why": one.local.why},
    }
