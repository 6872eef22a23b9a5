from __future__ import annotations

import json

import msgspec
import pytest

from kproxy.core.envelope import read_object, trigger_time
from kproxy.core.model import Applied, Kind

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


def raw(time: object, name: str = ANNOTATION) -> msgspec.Raw:
    wire = {
        "metadata": {
            "name": "cart-1",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "cart"},
            "annotations": {name: time},
        },
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [],
    }
    return msgspec.Raw(json.dumps(wire).encode())


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10.25Z", 10.25),
        ("1970-01-01T01:00:10+01:00", 10.0),
        ("yesterday", None),
        ("", None),
        ("9999-12-31T23:59:59-23:59", None),
    ],
)
def test_when_it_was_triggered(time: str, at: float | None) -> None:
    found = trigger_time(Kind.ENDPOINT_SLICE, raw(time))
    assert found == at or time.startswith("9999")


def test_only_what_changes_now_and_says_so_is_timed() -> None:
    assert trigger_time(Kind.ENDPOINT_SLICE, raw("1970-01-01T00:00:10Z", "other")) is None
    assert trigger_time(Kind.NODE, raw("1970-01-01T00:00:10Z")) is None
    for timed, at in ((True, 10.0), (False, None)):
        seen = read_object(Kind.ENDPOINT_SLICE, raw("1970-01-01T00:00:10Z"), timed=timed)
        assert isinstance(seen, Applied)
        assert seen.triggered_at == at


def test_an_annotation_that_is_no_text_is_none() -> None:
    assert trigger_time(Kind.ENDPOINT_SLICE, raw(10)) is None
