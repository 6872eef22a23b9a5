"""Short words for planning small clusters in tests."""

from __future__ import annotations

from typing import Any

from kproxy.core.host import Host, Settings, Traits
from kproxy.core.model import KubeObject
from kproxy.core.plan import Action, Client, NodePlan, PortPlan, Route
from kproxy.core.planner import Planned, plan_node
from kproxy.core.values import Family
from tests.conformance import TRAITS, snapshot_from
from tests.objects import HOST, endpoint, networks

DETECTED = Settings(cluster_cidrs=networks("10.64.0.0/16", "fd00:64::/32"))
HERE, THERE = endpoint("10.64.1.10"), endpoint("10.64.2.1", "node-b")


def planned(
    *items: KubeObject,
    settings: Settings = DETECTED,
    host: Host = HOST,
    traits: Traits = TRAITS["iptables"],
    family: Family = Family.IPV4,
    previous: Planned | None = None,
) -> Planned:
    return plan_node(snapshot_from(*items), settings, host, traits, family, previous)


def plan(*items: KubeObject, **inputs: Any) -> NodePlan:
    return planned(*items, **inputs).plan


def only_port(node_plan: NodePlan) -> PortPlan:
    ((found,),) = (one.ports for one in node_plan.services.values())
    return found


def table(*rows: str) -> tuple[Route, ...]:
    """`pod plain cluster`, `any masquerade local` …, as the architecture writes them."""
    split = [row.split() for row in rows]
    return tuple(Route(Client(who), how == "masquerade", Action(what)) for who, how, what in split)


def frontends(node_plan: NodePlan) -> list[tuple[str, str | None, int]]:
    return [
        (one.kind.value, one.address, one.port)
        for service_plan in node_plan.services.values()
        for port_plan in service_plan.ports
        for one in port_plan.frontends
    ]
