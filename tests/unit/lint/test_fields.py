"""The table of known fields is the API's own, and what is in no shape to be judged is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from kproxy.lint.fields import KNOWN, unknown_fields
from tests.unit.lint.manifests import found_in, service

MODELS: dict[tuple[str, str], Any] = {
    ("Service", ""): client.V1Service,
    ("Service", "spec"): client.V1ServiceSpec,
    ("Service", "spec.ports[]"): client.V1ServicePort,
    ("Service", "spec.sessionAffinityConfig"): client.V1SessionAffinityConfig,
    ("Service", "spec.sessionAffinityConfig.clientIP"): client.V1ClientIPConfig,
    ("EndpointSlice", ""): client.V1EndpointSlice,
    ("EndpointSlice", "ports[]"): client.DiscoveryV1EndpointPort,
    ("EndpointSlice", "endpoints[]"): client.V1Endpoint,
    ("EndpointSlice", "endpoints[].conditions"): client.V1EndpointConditions,
    ("EndpointSlice", "endpoints[].hints"): client.V1EndpointHints,
}


def test_the_table_is_what_the_apis_own_client_has() -> None:
    known = {(kind, place): names for kind, places in KNOWN.items() for place, names in places.items()}
    assert known == {where: frozenset(model.attribute_map.values()) for where, model in MODELS.items()}


@pytest.mark.parametrize("text", ["[", "3", "[[1]]", '{"spec": 3}', '{"spec": {"ports": [1, [2], null]}}'])
def test_other_shapes_are_not_judged(text: str) -> None:
    assert unknown_fields("Service", text.encode()) == ()
    assert unknown_fields("Node", b'{"a": 1}') == ()


def test_the_nearest_name_is_told(tmp_path: Path) -> None:
    (found,) = (one for one in found_in(tmp_path, service(externalTrafficPolciy="Local")) if one.code == "KPX080")
    assert "did you mean externalTrafficPolicy?" in found.reason
    assert found.remedy == "write externalTrafficPolicy"


def test_nothing_near_is_told_either(tmp_path: Path) -> None:
    (found,) = (one for one in found_in(tmp_path, service(colour="blue")) if one.code == "KPX080")
    assert (found.field, found.remedy) == ("spec.colour", "correct or remove the field")
