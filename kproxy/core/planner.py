"""From a snapshot to the NodePlan of one family: every Kubernetes decision is taken here."""

from __future__ import annotations

from kproxy.core.plan import NodePlan
from kproxy.core.values import Value


class Planned(Value, frozen=True):
    """A plan, and the inputs it came from, so that the next one can reuse its parts."""

    plan: NodePlan
