"""What a running agent serves, as somebody outside asks for it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 60.0
METRICS_PORT, HEALTHZ_PORT = 10249, 10256


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def until(is_so: Callable[[], bool]) -> None:
    """Ask again until the program has come so far."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if is_so():
                return
        except OSError:
            pass
        time.sleep(0.02)
    pytest.fail("never came to be")


def is_ready() -> bool:
    return get(HEALTHZ_PORT, "/readyz")[0] == 200


def status() -> Any:
    return json.loads(get(METRICS_PORT, "/debug/status")[2])


def scraped() -> dict[str, Any]:
    """The metric families by name, as a scrape finds them."""
    text = get(METRICS_PORT, "/metrics")[2].decode()
    return {family.name: family for family in text_string_to_metric_families(text)}
