"""Kubernetes 1.36's own schema of the kinds that are used, without descriptions, and the Prometheus operator's part."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = ROOT / "tests" / "data" / "kubernetes"
KINDS = {
    ("apps/v1", "DaemonSet"): "io.k8s.api.apps.v1.DaemonSet",
    ("v1", "ConfigMap"): "io.k8s.api.core.v1.ConfigMap",
    ("v1", "ServiceAccount"): "io.k8s.api.core.v1.ServiceAccount",
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "io.k8s.api.rbac.v1.ClusterRole",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "io.k8s.api.rbac.v1.ClusterRoleBinding",
    ("monitoring.coreos.com/v1", "PodMonitor"): "PodMonitor",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "PrometheusRule",
}


def strict(schema: Any) -> Any:
    """The schema, refusing fields that it does not name, as kubectl's strict validation does."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: strict(value) for key, value in schema.items()}
    has_fields = isinstance(schema.get("properties"), dict) and "type" in schema
    return inner | {"additionalProperties": False} if has_fields else inner


@functools.cache
def definitions() -> Any:
    names = ("schema-1.36.0.json", "monitoring-v1.json")
    parts = [json.loads((KUBERNETES / name).read_text())["$defs"] for name in names]
    return strict(parts[0]) | parts[1]


@functools.cache
def validator(definition: str) -> Draft202012Validator:
    return Draft202012Validator({"$defs": definitions(), "$ref": f"#/$defs/{definition}"})


def problems(document: dict[str, Any]) -> list[str]:
    found = validator(KINDS[document["apiVersion"], document["kind"]]).iter_errors(document)
    return [f"{error.json_path}: {error.message[:200]}" for error in found]
