"""A Service in full, for people: who may come, where each client goes, who serves, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kproxy.core.plan import Action, Client, Frontend, FrontendKind, NodePlan, Route
from kproxy.core.values import Family
from kproxy.core.why import EndpointStory
from kproxy.ports import Unsupported
from kproxy.report.flows import endpoint_text
from kproxy.report.layout import aligned
from kproxy.report.services import PortView, ServiceView, affinity_text, frontend_text

INDENT = "  "
KINDS: Mapping[FrontendKind, str] = {
    FrontendKind.CLUSTER: "ClusterIP",
    FrontendKind.EXTERNAL: "external IP",
    FrontendKind.LOAD_BALANCER: "load balancer",
    FrontendKind.NODE_PORT: "NodePort",
}
CLIENTS: Mapping[Client, str] = {
    Client.POD: "from a pod",
    Client.NODE: "from this node",
    Client.ANY: "from anybody",
}
ACTIONS: Mapping[Action, str] = {
    Action.CLUSTER: "the cluster's endpoints",
    Action.LOCAL: "this node's endpoints",
    Action.REJECT: "refused with an error",
    Action.DROP: "dropped silently",
}


def node_lines(node: str, backend: str, plans: Mapping[Family, NodePlan]) -> Iterator[str]:
    """What holds for all Services of this node."""
    yield f"Node {node}, backend {backend}"
    for family, plan in plans.items():
        yield f"{INDENT}{family.label}: pods are known by {_pods(plan)}; NodePorts on {_node_ports(plan)}"
        egress = _egress(plan)
        if egress:
            yield f"{INDENT}{family.label}: {egress}"


def _egress(plan: NodePlan) -> str:
    if plan.egress is None:
        return f"pods' connections are not masqueraded: {plan.no_egress}" if plan.no_egress else ""
    return f"pods' connections are masqueraded but to {', '.join(map(str, plan.egress.exempt))}"


def _pods(plan: NodePlan) -> str:
    if plan.pods is None:
        return "nothing (no detector: set clusterCIDR or detectLocalMode)"
    if isinstance(plan.pods, str):
        return f"interface {plan.pods}"
    return f"source {', '.join(map(str, plan.pods))}"


def _node_ports(plan: NodePlan) -> str:
    where = "every local address" if plan.node_ports is None else ", ".join(sorted(plan.node_ports)) or "no address"
    return f"{where}{' and 127.0.0.1' if plan.loopback_node_ports else ''}"


def unsupported_lines(unsupported: Iterable[Unsupported]) -> Iterator[str]:
    """What of the plan the backend cannot do; nothing if it can do all."""
    for one in dict.fromkeys(unsupported):
        whose = f"{one.service}: " if one.service else ""
        yield f"{INDENT}not with this backend: {whose}{one.what}: {one.instead}"


def service_lines(view: ServiceView) -> Iterator[str]:
    """A Service's heading, then each of its ports."""
    service = view.service
    facts = [service.type.value, view.family.label, f"internal policy {service.internal_policy.value}"]
    facts.append(f"external policy {service.external_policy.value}")
    if service.affinity_s:
        facts.append(f"clients keep their endpoint for {affinity_text(service.affinity_s)}")
    yield f"{service.key} ({', '.join(facts)})"
    for conflict in view.lost:
        yield f"{INDENT}lost: {conflict.claim} belongs to {conflict.winner}, which is older"
    health = view.plan.health_check
    if health:
        yield f"{INDENT}health check on port {health.port}: {health.local_ready} ready on this node"
    for port in view.ports:
        yield from (INDENT + line for line in _port_lines(port))


def _port_lines(port: PortView) -> Iterator[str]:
    yield f"port {port.plan.name or '(unnamed)'}/{port.plan.protocol}"
    yield from _block("frontends", (_frontend_cells(one) for one in port.plan.frontends))
    kinds = {frontend.kind.is_internal for frontend in port.plan.frontends}
    if True in kinds:
        yield from _block("to its ClusterIP", (_route_cells(row) for row in port.plan.internal))
    if False in kinds:
        yield from _block("to its other frontends", (_route_cells(row) for row in port.plan.external))
    cells = [_endpoint_cells(port, one) for one in port.story.endpoints] or [["none"]]
    yield from _block("endpoints", cells)
    for note in port.story.notes:
        yield f"{INDENT}note: {note}"


def _block(title: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"{INDENT}{title}"
    table = list(rows)
    for line in aligned([""] * len(table[0]), table):
        yield INDENT * 2 + line


def _frontend_cells(frontend: Frontend) -> Sequence[str]:
    allowed = frontend.allow_from
    fence = ""
    if allowed is not None:
        fence = (
            f"only from {', '.join(map(str, allowed))}" if allowed else "from nobody (no source range of this family)"
        )
    return KINDS[frontend.kind], frontend_text(frontend), fence


def _route_cells(row: Route) -> Sequence[str]:
    return CLIENTS[row.client], ACTIONS[row.action], "masqueraded" if row.masquerade else ""


def _endpoint_cells(port: PortView, one: EndpointStory) -> Sequence[str]:
    node = f"{one.node or 'unknown node'}{' (here)' if one.is_local else ''}"
    pools = [pool for pool in (Action.CLUSTER, Action.LOCAL) if pool in port.pools] or [Action.CLUSTER]
    return [endpoint_text(one.address, one.port), node, *(_standing(port, one, pool) for pool in pools)]


def _standing(port: PortView, one: EndpointStory, pool: Action) -> str:
    standing = port.standing(one, pool)
    word = "this node's" if pool is Action.LOCAL else "the cluster's"
    return f"{'in' if standing.chosen else 'not in'} {word}: {standing.why}"
