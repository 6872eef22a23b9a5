"""Small plans to compile for iptables, and readers of what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from backends.iptables.compile import compile_plan
from backends.iptables.names import ChainId
from kproxy.core.document import Document
from kproxy.core.plan import NodePlan, ServicePlan, Unallocated, Unlisted
from kproxy.core.values import Family
from tests.fakes.kernel import objects
from tests.unit.backends.nftables.plans import (
    FROM_OUTSIDE,
    OF_FAMILY,
    REFUSED,
    TO_CLUSTER,
    TO_LOCAL,
    cluster_ip,
    endpoints,
    node_port,
    port,
    service,
)

__all__ = [
    "FROM_OUTSIDE",
    "REFUSED",
    "TO_CLUSTER",
    "TO_LOCAL",
    "Chains",
    "chains",
    "cluster_ip",
    "document",
    "endpoints",
    "leaf",
    "node_port",
    "plan",
    "port",
    "service",
]

Chains = Mapping[tuple[str, str], tuple[str, ...]]


def plan(*services: ServicePlan, family: Family = Family.IPV4, **others: Any) -> NodePlan:
    """A plan as kube-proxy's iptables mode has it: every local address takes NodePorts, what is unlisted passes."""
    settings: dict[str, Any] = {
        **OF_FAMILY[family],
        "node_ports": None,
        "unlisted": Unlisted.PASS,
        "unallocated": Unallocated.PASS,
        "accepts_health_checks": True,
        **others,
    }
    return NodePlan(family, {one.service: one for one in services}, **settings)


def document(*services: ServicePlan, **others: Any) -> Document:
    return compile_plan(plan(*services, **others), None).document


def chains(*services: ServicePlan, **others: Any) -> Chains:
    """All chains of a plan."""
    return cast("Chains", objects(document(*services, **others)))


def leaf(found: Chains, chain: ChainId, contains: str) -> str:
    """The one rule of a chain that contains a text."""
    (rule,) = [rule for rule in found[chain] if contains in rule]
    return rule
