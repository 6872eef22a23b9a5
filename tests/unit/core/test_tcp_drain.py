"""Annotation kproxy.io/tcp-drain-seconds, from the API's text to the plan."""

from __future__ import annotations

import pytest

from kproxy.core import schema
from kproxy.core.parse_service import parse_service
from kproxy.core.values import ObjectKey


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("30", 30),
        (30, 30),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("30s", None),
        ("٣٠", None),
        ("9" * 10, None),
        ("9" * 100_000, None),
    ],
)
def test_whole_seconds_and_nothing_else(text: str | int | None, seconds: int | None) -> None:
    wire = schema.Service(
        metadata=schema.Metadata(annotations=schema.Annotations(tcp_drain=text)),
        spec=schema.ServiceSpec(cluster_ip="10.96.0.1", ports=[schema.ServicePort(port=80)]),
    )
    service = parse_service(ObjectKey("shop", "cart"), wire)
    assert service is not None
    assert service.tcp_drain_s == seconds
