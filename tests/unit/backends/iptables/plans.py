"""Small plans to compile for iptables, and readers of what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from backends.iptables.compile import compile_plan
from kproxy.core.chains import ChainId
from kproxy.core.document import Document
from kproxy.core.plan import NodePlan, ServicePlan, Unallocated, Unlisted
from kproxy.core.values import Family
from tests.fakes.kernel import objects
from tests.unit.backends.plans import OF_FAMILY

Chains = Mapping[ChainId, tuple[str, ...]]


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


def depth(found: Chains, chain: ChainId) -> int:
    """How many chains lie below one another below this one."""
    leads = [ChainId(chain.table, rule.rpartition("-g ")[2]) for rule in found[chain] if " -g " in rule]
    return max((1 + depth(found, lead) for lead in leads), default=0)


def lopsided(count: int, prefix: int = 0, bits: int = 0) -> list[int]:
    """Addresses of which half share the next two bits, and of these again half, as deep as it goes."""
    if count < 4 or bits >= 30:
        return [prefix << (32 - bits) | number for number in range(count)]
    third = (count - count // 2) // 3
    shares = (count // 2, count - count // 2 - 2 * third, third, third)
    return [one for branch, share in enumerate(shares) for one in lopsided(share, prefix << 2 | branch, bits + 2)]
