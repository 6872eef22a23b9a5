"""The meaning of a plan: what a node does with a connection's first packet.

Every backend's compiled rules must answer as `decide` does. The order:

1. An exact address, port and protocol beats a NodePort.
2. A source outside the frontend's `allow_from` is dropped, endpoints or not.
3. The first route whose client matches decides; POD by the plan's detector,
   NODE if the source is this node's own.
4. No frontend: a ClusterIP's other ports are `unlisted`, other addresses of a
   ServiceCIDR `unallocated`, all else passes; a health-check port on one of
   the node's addresses is admitted where the backend does so.
5. What passes leaves with the node's address if its source is a pod and its
   destination is neither the node's own nor exempt (pod egress masquerade).
6. Where NodePorts are served on IPv4 loopback, what comes to loopback from
   elsewhere and goes to no endpoint is dropped: `route_localnet` lets it in.

Every endpoint of the route's pool is equally likely. Masquerade is the
route's, or because the endpoint is here and is itself the source. Affinity is
not considered: this is a client's first connection.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kproxy.core.egress import exemption
from kproxy.core.flow import Answer, Choice, Packet, Verdict
from kproxy.core.host import Host
from kproxy.core.node_facts import is_local
from kproxy.core.plan import Action, Client, Endpoint, Frontend, NodePlan, PortPlan, Route, Unallocated, Unlisted
from kproxy.core.values import ObjectKey, Protocol, Value, network_contains


class Target(Value, frozen=True):
    """What a packet's destination stands for."""

    service: ObjectKey
    port: PortPlan
    frontend: Frontend


class Index(Value, frozen=True):
    """A plan, ready to be asked about many packets."""

    plan: NodePlan
    exact: Mapping[tuple[str, int, Protocol], Target]
    node_ports: Mapping[tuple[int, Protocol], Target]
    cluster_ips: frozenset[str]
    health_check_ports: frozenset[int]


class Decision(Value, frozen=True):
    """An answer with what led to it; `target` and `route` are None where there was none."""

    answer: Answer
    target: Target | None = None
    route: Route | None = None


def decide(plan: NodePlan, packet: Packet, host: Host) -> Answer:
    """What the plan's node does with the packet; for many packets, `index_plan` once and ask `judge`."""
    return judge(index_plan(plan), packet, host).answer


def index_plan(plan: NodePlan) -> Index:
    """Look-up tables over a plan; O(n)."""
    exact: dict[tuple[str, int, Protocol], Target] = {}
    node_ports: dict[tuple[int, Protocol], Target] = {}
    for key, service in plan.services.items():
        for port in service.ports:
            for frontend in port.frontends:
                target = Target(key, port, frontend)
                if frontend.address is None:
                    node_ports[frontend.port, port.protocol] = target
                else:
                    exact[frontend.address, frontend.port, port.protocol] = target
    checks = (service.health_check for service in plan.services.values())
    return Index(
        plan=plan,
        exact=exact,
        node_ports=node_ports,
        cluster_ips=frozenset(at[0] for at, target in exact.items() if target.frontend.kind.is_internal),
        health_check_ports=frozenset(check.port for check in checks if check),
    )


def judge(index: Index, packet: Packet, host: Host) -> Decision:
    """Like `decide`, with the Service, port, frontend and route that decided."""
    decision = _judge_open(index, packet, host)
    if decision.answer.verdict is not Verdict.DNAT and _is_kept_out(index.plan, packet):
        return msgspec.structs.replace(decision, answer=Answer(Verdict.DROP))
    return decision


def _judge_open(index: Index, packet: Packet, host: Host) -> Decision:
    """As if everybody could reach loopback."""
    target = index.exact.get((packet.destination, packet.port, packet.protocol))
    if target is None and takes_node_ports(index.plan, packet.destination, host):
        target = index.node_ports.get((packet.port, packet.protocol))
    if target is None:
        return Decision(_unserved(index, packet, host))
    allow_from = target.frontend.allow_from
    if allow_from is not None and not any(network_contains(one, packet.source) for one in allow_from):
        return Decision(Answer(Verdict.DROP), target)
    routes = target.port.routes(target.frontend.kind)
    route = next(one for one in routes if is_client(one.client, index.plan, packet, host))
    return Decision(_follow(route, target.port, packet), target, route)


def _is_kept_out(plan: NodePlan, packet: Packet) -> bool:
    """Whether this is somebody from elsewhere at a loopback address that only we have opened."""
    return plan.loopback_node_ports and packet.destination.startswith("127.") and not packet.source.startswith("127.")


def takes_node_ports(plan: NodePlan, address: str, host: Host) -> bool:
    """Whether an address takes NodePorts; loopback of IPv4 by its own rule, ::1 never."""
    if address.startswith("127."):
        return plan.loopback_node_ports
    if address == "::1":
        return False
    return is_local(address, host) if plan.node_ports is None else address in plan.node_ports


def is_client(client: Client, plan: NodePlan, packet: Packet, host: Host) -> bool:
    """Whether a packet comes from this kind of client."""
    if client is Client.NODE:
        return is_local(packet.source, host)
    if client is Client.POD:
        return is_pod(plan, packet)
    return True


def is_pod(plan: NodePlan, packet: Packet) -> bool:
    """Whether a packet comes from a pod, by the plan's detector."""
    if plan.pods is None:
        return False
    if isinstance(plan.pods, tuple):
        return any(network_contains(one, packet.source) for one in plan.pods)
    if packet.interface is None:
        return False
    if plan.pods.endswith("+"):
        return packet.interface.startswith(plan.pods.removesuffix("+"))
    return packet.interface == plan.pods


def _follow(route: Route, port: PortPlan, packet: Packet) -> Answer:
    if route.action.refuses:
        return Answer(Verdict.REJECT if route.action is Action.REJECT else Verdict.DROP)
    pool = port.pool(route.action)
    return Answer(Verdict.DNAT, tuple(_choice(one, route, packet, 1 / len(pool)) for one in pool))


def _choice(endpoint: Endpoint, route: Route, packet: Packet, probability: float) -> Choice:
    hairpin = endpoint.is_local and endpoint.address == packet.source
    return Choice(endpoint.address, endpoint.port, probability, route.masquerade or hairpin)


def _unserved(index: Index, packet: Packet, host: Host) -> Answer:
    plan = index.plan
    unlisted = packet.destination in index.cluster_ips
    if unlisted and plan.unlisted is Unlisted.REJECT:
        return Answer(Verdict.REJECT)
    if not unlisted and plan.unallocated is Unallocated.DROP and _is_unallocated(plan, packet.destination, host):
        return Answer(Verdict.DROP)
    admitted = not unlisted and plan.accepts_health_checks and _is_health_check(index, packet, host)
    return Answer(Verdict.PASS, accept=admitted, egress=_leaves_masqueraded(plan, packet, host))


def _is_unallocated(plan: NodePlan, address: str, host: Host) -> bool:
    """Whether it is nobody's in a ServiceCIDR; one that this node has is somebody's, a virtual server's most likely."""
    return not is_local(address, host) and any(network_contains(one, address) for one in plan.cluster_ranges)


def _leaves_masqueraded(plan: NodePlan, packet: Packet, host: Host) -> bool:
    return plan.egress is not None and is_pod(plan, packet) and not exemption(plan.egress, packet.destination, host)


def _is_health_check(index: Index, packet: Packet, host: Host) -> bool:
    return (
        packet.protocol is Protocol.TCP
        and packet.port in index.health_check_ports
        and is_local(packet.destination, host)
    )
