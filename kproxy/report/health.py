"""Is this proxy well? The rules and the JSON of kube-proxy 1.36 (pkg/proxy/healthcheck/proxy_health.go).

A family is unhealthy once the oldest change that is not in force is older than two sync periods; before its first sync
it has no status and harms nothing. The Node counts for `/healthz` alone: whoever asks whether to send traffic here must
hear that the node is leaving, whoever asks whether to restart the proxy must not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from kproxy.core.values import Family, Value

PERIODS = 2
"""For how many sync periods a change may wait."""
NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time."""


class FamilyHealth(Value, frozen=True):
    """One family: when a sync last succeeded (seconds since the epoch), and whether it is in time."""

    updated_at: float
    healthy: bool


class Health(Value, frozen=True):
    """The proxy at a moment."""

    families: Mapping[Family, FamilyHealth]
    """Those that have been synced."""
    node_eligible: bool
    ready: bool
    """Whether every family has been synced once."""

    @property
    def live(self) -> bool:
        """Whether no change waits too long: what `/livez` and health checks of Services say."""
        return all(one.healthy for one in self.families.values())

    @property
    def healthy(self) -> bool:
        """What `/healthz` says."""
        return self.live and self.node_eligible


def healthz_json(health: Health, now: float) -> bytes:
    """The body of `/healthz`."""
    return _body(health, now, {"nodeEligible": health.node_eligible}, is_good=health.healthy)


def livez_json(health: Health, now: float) -> bytes:
    """The body of `/livez`."""
    return _body(health, now, {}, is_good=health.live)


def _body(health: Health, now: float, more: Mapping[str, object], *, is_good: bool) -> bytes:
    """As Go's json.Marshal of ProxyHealth; what is well was updated now, as in kube-proxy."""
    updated = max((one.updated_at for one in health.families.values()), default=None)
    body: dict[str, object] = {
        "lastUpdated": go_time(now if is_good else updated),
        "currentTime": go_time(now),
        **more,
        "healthy": health.live,
    }
    if health.families:
        body["status"] = {
            family.label: {"lastUpdated": go_time(one.updated_at), "healthy": one.healthy}
            for family, one in sorted(health.families.items())
        }
    return json.dumps(body, separators=(",", ":")).encode()


def go_time(at: float | None) -> str:
    """Seconds since the epoch as Go's RFC3339Nano in UTC: no trailing zeros."""
    if at is None:
        return NEVER
    text = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}"
    return text.rstrip("0").rstrip(".") + "Z"


def service_health_json(namespace: str, name: str, endpoints: int, *, live: bool) -> bytes:
    """The body of a healthCheckNodePort (service_health.go): tabs, no newline at the end."""
    return (
        "{\n"
        '\t"service": {\n'
        f'\t\t"namespace": {json.dumps(namespace)},\n'
        f'\t\t"name": {json.dumps(name)}\n'
        "\t},\n"
        f'\t"localEndpoints": {endpoints},\n'
        f'\t"serviceProxyHealthy": {json.dumps(live)}\n'
        "}"
    ).encode()
