"""An agent's state as others want to see it: its health, its plans with the objects they came from, its gauges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kproxy.agent import State
from kproxy.agent.values import Side
from kproxy.core.document import Document
from kproxy.core.metrics import Measure
from kproxy.core.model import NO_NAMESPACE, Kind
from kproxy.core.planner import Planned
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Family, ObjectKey
from kproxy.ports import Unsupported
from kproxy.report.health import PERIODS, FamilyHealth, Health
from kproxy.report.measures import IPTABLES, plan_measures, rule_measures, unsupported_measure


def health_of(state: State, *, needs_node: bool) -> Health:
    """The proxy's health now; `needs_node`: whether a Node object that is not there counts against this node."""
    node = state.snapshot.nodes.get(ObjectKey(NO_NAMESPACE, state.host.node))
    is_missing = needs_node and Kind.NODE in state.snapshot.complete
    return Health(
        families={
            family: FamilyHealth(side.updated_at, is_in_time(state, side))
            for family, side in state.sides.items()
            if side.updated_at is not None
        },
        node_eligible=not is_missing if node is None else not node.leaving,
        ready=bool(state.sides) and all(side.updated_at is not None for side in state.sides.values()),
    )


def is_in_time(state: State, side: Side) -> bool:
    """Whether no change has waited too long for this family."""
    since_s = waiting_s(state, side)
    return since_s is None or since_s < PERIODS * side.pace.retry_max_s


def waiting_s(state: State, side: Side) -> float | None:
    """For how long the oldest change that is not in force has waited, heard or unheard; None: none does."""
    since = [at for at in (side.schedule.unapplied_since, state.unheard_since) if at is not None]
    return max(state.now - min(since), 0.0) if since else None


def planned_of(state: State) -> Mapping[Family, Planned]:
    """Each family's newest plan; empty before the first."""
    return {family: side.world.planned for family, side in state.sides.items() if side.world.planned is not None}


def planned_snapshot(planned: Mapping[Family, Planned]) -> Snapshot:
    """The objects that the plans were made of, which may be older than the newest known."""
    services = {key: one for plan in planned.values() for key, one in plan.services.items()}
    slices = {key: one for plan in planned.values() for key, one in plan.slices.items()}
    return Snapshot(services, slices)


def documents_of(state: State) -> Mapping[Family, Document]:
    """Each family's compiled rules; empty before the first."""
    return {family: side.world.compiled.document for family, side in state.sides.items() if side.world.compiled}


def unsupported_of(state: State) -> Mapping[Family, tuple[Unsupported, ...]]:
    """What of each family's plan the backend leaves out; empty before the first."""
    return {family: side.world.compiled.unsupported for family, side in state.sides.items() if side.world.compiled}


def gauges(state: State) -> Iterator[Measure]:
    """What is measured when somebody asks."""
    for family, planned in planned_of(state).items():
        yield from plan_measures(family, planned.plan)
    for family, unsupported in unsupported_of(state).items():
        yield unsupported_measure(family, unsupported)
    if state.backend.name == IPTABLES:
        for family, document in documents_of(state).items():
            yield from rule_measures(family, document)
