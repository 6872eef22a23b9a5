"""Small plans, compiled for nftables."""

from __future__ import annotations

from typing import Any

from backends.nftables.compile import Kept, compile_plan
from kproxy.core.plan import ServicePlan
from tests.unit.backends.plans import plan


def compiled(*services: ServicePlan, **others: Any) -> Kept:
    return compile_plan(plan(*services, **others), None)
