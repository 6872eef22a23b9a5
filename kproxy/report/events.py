"""Kubernetes Events that an agent leaves on its Node or on a Service, as kube-proxy 1.36 does (events.k8s.io/v1)."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from kproxy.core.values import Family, ObjectKey, Value
from kproxy.report.drift import Drift

CONTROLLER = "kproxy"
NODE_NAMESPACE = "default"
"""Where Events about objects without a namespace are kept."""
MAX_NOTE = 1024
"""What the API takes."""


class Remark(Value, frozen=True):
    """Something that deserves an Event."""

    reason: str
    """In kube-proxy's words: `Starting`, `FailedToStartServiceHealthcheck`."""
    note: str = ""
    action: str = "StartKubeProxy"
    service: ObjectKey | None = None
    """The Service that it is about; None: this Node."""
    is_warning: bool = True


STARTING = Remark("Starting", is_warning=False)
IPVS_DEPRECATION = Remark(
    "IPVSDeprecation",
    "kube-proxy's ipvs mode is deprecated and goes with Kubernetes 1.43 (KEP-5495); kproxy's stays, nftables is faster",
)


def started(backend: str) -> tuple[Remark, ...]:
    """What kube-proxy says of its Node when it starts in this mode."""
    return (STARTING, IPVS_DEPRECATION) if backend == "ipvs" else (STARTING,)


class Post(Value, frozen=True):
    """A request that creates an object."""

    path: str
    body: bytes


def drifted(family: Family, drift: Drift) -> Remark:
    """That others changed our rules of a family, which are put right."""
    by = f" by {', '.join(drift.by)}" if drift.by else ""
    note = f"{family.label} rules were changed{by} and are put right: {drift.summary} ({drift.examples})"
    return Remark("RulesDrifted", note, "RepairRules")


def event_post(remark: Remark, node: str, at: float, unique: str) -> Post:
    """The request for a remark of the agent on `node`, made at `at` (seconds since the epoch)."""
    service = remark.service
    namespace = service.namespace if service else NODE_NAMESPACE
    regarding = {"kind": "Node", "name": node, "uid": node}
    if service:
        regarding = {"kind": "Service", "namespace": namespace, "name": service.name, "uid": str(service)}
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{regarding['name']}.{unique}", "namespace": namespace},
        "eventTime": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        "reportingController": CONTROLLER,
        "reportingInstance": f"{CONTROLLER}-{node}"[:128],
        "action": remark.action,
        "reason": remark.reason,
        "regarding": regarding,
        "note": remark.note[:MAX_NOTE],
        "type": "Warning" if remark.is_warning else "Normal",
    }
    return Post(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", msgspec.json.encode(event))
