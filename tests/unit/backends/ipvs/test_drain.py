"""When a leaving real server is gone."""

from __future__ import annotations

import pytest

from backends.ipvs.drain import Step, default_s, is_due, step
from backends.ipvs.objects import Real, Server
from backends.ipvs.servers import Found
from kproxy.core.values import Protocol

NOW = 1_000_000
REAL = Real(Server(Protocol.TCP, "10.96.0.1", 80), "10.64.1.10", 8080)


def found(connections: int, deadline: int = 0) -> Found:
    return Found(REAL, 0 if deadline else 1, connections, deadline)


@pytest.mark.parametrize(
    ("standing", "drain_s", "expected"),
    [
        (None, 300, Step.REMOVE),
        (found(0), 300, Step.REMOVE),
        (found(3), 0, Step.REMOVE),
        (found(3), 300, Step.BEGIN),
        (found(3, NOW + 1), 300, Step.WAIT),
        (found(3, NOW), 300, Step.REMOVE),
        (found(0, NOW + 99), 300, Step.REMOVE),
    ],
)
def test_steps(standing: Found | None, drain_s: int, expected: Step) -> None:
    assert step(standing, drain_s, NOW) is expected


def test_a_leaving_server_is_due_when_it_is_idle_or_late() -> None:
    assert is_due(found(0, NOW + 99), NOW)
    assert is_due(found(5, NOW), NOW)
    assert not is_due(found(5, NOW + 1), NOW)


@pytest.mark.parametrize(
    ("protocol", "expected"), [(Protocol.TCP, 300), (Protocol.UDP, 0), (Protocol.SCTP, 0), (None, 0)]
)
def test_only_tcp_drains_unless_told(protocol: Protocol | None, expected: int) -> None:
    assert default_s(Server(protocol, "10.96.0.1", 80)) == expected
