"""Health as the agent's life makes it: what turns it red, and what does not."""

from __future__ import annotations

import json

import msgspec
import pytest

from kproxy.core.model import Applied, Deleted, Kind
from kproxy.core.values import Family, ObjectKey
from kproxy.errors import ApplyTimeout
from kproxy.report.health import NEVER, go_time, healthz_json, livez_json
from kproxy.wiring.views import health_of
from tests.fakes.stage import NODE, Stage, endpoint_slice, node, service

NOW = 1_795_000_000.5
NODE_KEY = ObjectKey("", NODE)


def stage() -> Stage:
    standing = Stage(wall=lambda: NOW)
    standing.begin([service()], [endpoint_slice()])
    return standing


def healthy(standing: Stage) -> tuple[bool, bool]:
    health = health_of(standing.agent.state, needs_node=True)
    return health.healthy, health.live


def test_before_the_first_sync_it_is_healthy_and_not_ready() -> None:
    health = health_of(Stage().agent.state, needs_node=True)
    assert (health.healthy, health.live, health.ready) == (True, True, False)
    assert json.loads(livez_json(health, NOW)) == {
        "lastUpdated": "2026-11-18T11:06:40.5Z",
        "currentTime": "2026-11-18T11:06:40.5Z",
        "healthy": True,
    }


def test_the_replies_are_kube_proxys_byte_for_byte() -> None:
    health = health_of(stage().agent.state, needs_node=True)
    families = ",".join(
        f'"{name}":{{"lastUpdated":"2026-11-18T11:06:40.5Z","healthy":true}}' for name in ("IPv4", "IPv6")
    )
    times = '"lastUpdated":"2026-11-18T11:06:41Z","currentTime":"2026-11-18T11:06:41Z"'
    assert healthz_json(health, NOW + 0.5).decode() == (
        f'{{{times},"nodeEligible":true,"healthy":true,"status":{{{families}}}}}'
    )
    assert livez_json(health, NOW + 0.5).decode() == f'{{{times},"healthy":true,"status":{{{families}}}}}'


def test_a_change_that_is_not_in_force_after_two_sync_periods_turns_it_red() -> None:
    standing = stage()
    kernel = standing.kernels[Family.IPV4]
    kernel.fails = ApplyTimeout("silence")
    standing.hear(Applied(endpoint_slice("cart", "10.64.1.99")))
    standing.clock.now += 59.9
    assert healthy(standing) == (True, True)
    standing.clock.now += 0.2
    health = health_of(standing.agent.state, needs_node=True)
    assert (health.healthy, health.families[Family.IPV4].healthy, health.families[Family.IPV6].healthy) == (
        False,
        False,
        True,
    )
    said = json.loads(healthz_json(health, NOW + 60))
    assert (said["healthy"], said["lastUpdated"]) == (False, "2026-11-18T11:06:40.5Z")
    standing.step()
    assert healthy(standing) == (True, True)


def test_messages_that_nobody_takes_up_turn_it_red_too() -> None:
    standing = stage()
    standing.agent.put([Applied(endpoint_slice("cart", "10.64.1.99"))])
    standing.clock.now += 61
    assert healthy(standing) == (False, False)
    standing.step()
    assert healthy(standing) == (True, True)


@pytest.mark.parametrize("event", ["leaving", "gone"])
def test_a_node_that_leaves_turns_healthz_red_and_livez_not(event: str) -> None:
    standing = stage()
    leaving = msgspec.structs.replace(node(), leaving=True)
    standing.hear(Applied(leaving) if event == "leaving" else Deleted(Kind.NODE, NODE_KEY))
    assert healthy(standing) == (False, True)
    said = json.loads(healthz_json(health_of(standing.agent.state, needs_node=True), NOW))
    assert (said["nodeEligible"], said["healthy"]) == (False, True)
    standing.hear(Applied(node()))
    assert healthy(standing) == (True, True)


def test_where_manifests_are_the_source_a_node_is_not_needed() -> None:
    standing = stage()
    standing.hear(Deleted(Kind.NODE, NODE_KEY))
    assert health_of(standing.agent.state, needs_node=False).healthy
    standing.hear(Applied(msgspec.structs.replace(node(), leaving=True)))
    assert not health_of(standing.agent.state, needs_node=False).healthy


def test_it_is_ready_once_every_family_has_been_synced() -> None:
    standing = Stage()
    standing.kernels[Family.IPV6].fails = ApplyTimeout("silence")
    standing.begin([service()], [endpoint_slice()])
    assert not health_of(standing.agent.state, needs_node=True).ready
    standing.step(after_s=1)
    assert health_of(standing.agent.state, needs_node=True).ready


@pytest.mark.parametrize(
    ("at", "text"),
    [(None, NEVER), (0.0, "1970-01-01T00:00:00Z"), (1.25, "1970-01-01T00:00:01.25Z"), (10.0, "1970-01-01T00:00:10Z")],
)
def test_times_are_gos(at: float | None, text: str) -> None:
    assert go_time(at) == text
