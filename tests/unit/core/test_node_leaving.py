from __future__ import annotations

import json
from typing import Any

import pytest

from kproxy.core.model import Kind, Node
from kproxy.core.parse import decode_object


def parsed(metadata: dict[str, Any] | None = None, taints: Any = None) -> Node:
    wire = {"metadata": {"name": "node-a", **(metadata or {})}, "spec": {"taints": taints}}
    found = decode_object(Kind.NODE, json.dumps(wire).encode())
    assert isinstance(found, Node)
    return found


@pytest.mark.parametrize(
    ("metadata", "taints", "leaving"),
    [
        (None, None, False),
        (None, [], False),
        (None, [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}, {}], False),
        (None, [{"key": "other"}, {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}], True),
        ({"deletionTimestamp": "2026-11-23T00:00:00Z"}, None, True),
    ],
)
def test_a_node_is_leaving_when_deleted_or_announced(metadata: Any, taints: Any, leaving: bool) -> None:  # noqa: FBT001 - a parameter
    assert parsed(metadata, taints).leaving is leaving
