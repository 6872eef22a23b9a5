"""What a running agent says of itself, as plain data: for `/debug/status` and `kproxy status`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from kproxy.agent import State
from kproxy.agent.values import Side
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, Value
from kproxy.report.drift import Drifts
from kproxy.report.health import Health
from kproxy.wiring.views import is_in_time, waiting_s

MAX_REFUSALS = 20


class Facts(Value, frozen=True):
    """What does not change while an agent runs."""

    version: str
    source: str
    started_at: float
    """Seconds since the epoch."""
    given: Mapping[str, str]
    """The options of the command line, by name."""
    needs_node: bool
    """Whether a missing Node object counts against this node: from an API server it does, from files it does not."""
    instance: str = ""
    """Its name; empty for the default one."""


class Reloads(Value, frozen=True):
    """What became of the configuration file."""

    path: str | None = None
    applied: int = 0
    invalid: int = 0
    error: str = ""
    """Why the file as it stands is not in force; empty if it is."""


def status_json(
    state: State,
    health: Health,
    facts: Facts,
    reloads: Reloads,
    drifts: Mapping[Family, Drifts],
    listeners: Sequence[str],
) -> Mapping[str, object]:
    """The whole status. Times are RFC 3339, durations in seconds."""
    return {
        "node": state.host.node,
        "instance": facts.instance,
        "backend": state.backend.name,
        "version": facts.version,
        "pid": os.getpid(),
        "started": _moment(facts.started_at),
        "source": facts.source,
        "sourceFaults": _faults(state),
        "ready": health.ready,
        "healthy": health.healthy,
        "nodeEligible": health.node_eligible,
        "families": {
            family.label: _family(state, side, drifts.get(family, Drifts())) for family, side in state.sides.items()
        },
        "config": {
            "file": reloads.path,
            "reloads": reloads.applied,
            "invalid": reloads.invalid,
            "error": reloads.error or None,
        },
        "listeners": list(listeners),
    }


def _faults(state: State) -> Mapping[str, object]:
    """What of the source cannot be read; `unknown` is what could never be."""
    flaws = state.snapshot.flaws
    return {
        "since": None if state.flawed_at is None else _moment(state.flawed_at),
        "faults": list(flaws.faults),
        "unknown": list(flaws.unknown),
    }


def _family(state: State, side: Side, drifts: Drifts) -> Mapping[str, object]:
    waited_s = waiting_s(state, side)
    error = str(side.error) if side.error is not None else None
    return {
        "healthy": is_in_time(state, side),
        "lastSync": None if side.updated_at is None else _moment(side.updated_at),
        "lastSyncSecondsAgo": None if side.schedule.ended_at is None else _rounded(state.now - side.schedule.ended_at),
        "lastSyncSeconds": _rounded(side.counters.last_s),
        "pendingSeconds": None if waited_s is None else _rounded(waited_s),
        "error": error,
        "waiting": str(side.waiting) if side.waiting is not None else None,
        "failuresInARow": side.schedule.failures,
        "syncs": side.counters.syncs,
        "failures": side.counters.failures,
        "refusals": side.counters.refusals,
        "driftedObjects": drifts.objects,
        "drift": _drift(drifts),
        **_counts(side.world.planned.plan if side.world.planned else None),
        "objects": sum(map(len, side.world.compiled.document.values())) if side.world.compiled else 0,
    }


def _drift(drifts: Drifts) -> Mapping[str, object]:
    last = drifts.last
    return {
        "objects": drifts.objects,
        "repairs": drifts.repairs,
        "last": None if drifts.last_at is None else _moment(drifts.last_at),
        "lastWhat": last.summary,
        "lastObjects": list(last.named),
        "lastBy": list(last.by),
        "lastNoticed": str(last.noticed) if last else None,
    }


def _counts(plan: NodePlan | None) -> Mapping[str, int]:
    ports = [port for service in plan.services.values() for port in service.ports] if plan else []
    return {
        "services": len(plan.services) if plan else 0,
        "ports": len(ports),
        "endpoints": sum(len(port.serving) for port in ports),
        "conflicts": len(plan.conflicts) if plan else 0,
    }


def _rounded(seconds: float) -> float:
    return round(seconds, 4)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
