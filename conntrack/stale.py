"""Which flows no serving endpoint answers any more; decided by level, from the whole table and all plans.

A flow is ours when it was sent to one of our frontends, address and port. It is
stale when what answers it is not among the *serving* endpoints of that Service
port: policies, zones and termination do not matter, so that a change of policy
cuts nobody off (as in kube-proxy, behaviour reference 4), but a Service without
any serving endpoint keeps no flow (kubernetes/kubernetes#139628).

UDP and SCTP have no connection that a client would open anew, so their stale
flows go. TCP flows go in two cases only: never answered and never translated
(sent before our rules existed, kubernetes/kubernetes#48719), or by the Service's
own wish after a while (`Draining`). Flows in a conntrack zone are never ours.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping

from conntrack.entry import FIELDS as ENTRY_FIELDS
from conntrack.entry import Entry, address_bytes, entry_of
from conntrack.layout import SCTP, TCP, UDP, Status
from conntrack.services import Door, Services, Socket
from conntrack.wire import Reader
from kproxy.core.values import ObjectKey, Value

FIELDS = (
    "protocol", "original_destination", "original_destination_port", "reply_source", "reply_source_port",
    "status", "zone", "original_zone", "reply_zone",
)  # fmt: skip
"""What a Reader must be asked for to judge flows."""

CLEANED = frozenset((UDP, SCTP))
"""The protocols whose stale flows are removed without being asked."""


_SEEN_REPLY = int(Status.SEEN_REPLY)


class Reason(enum.StrEnum):
    """Why a flow is stale."""

    NO_ENDPOINTS = "its Service has no serving endpoint"
    NOT_SERVING = "its endpoint does not serve any more"
    NOT_TRANSLATED = "it was sent before the rules existed and goes to no endpoint"


class Stale(Value, frozen=True):
    """A stale flow, and the Service port whose frontend it was sent to."""

    entry: Entry
    door: Door
    reason: Reason

    @property
    def endpoint(self) -> Socket:
        """What answered it."""
        return _endpoint(self.entry)

    @property
    def drains(self) -> bool:
        """Whether it goes only by the Service's own wish, after a while."""
        return self.entry.protocol == TCP and self.reason is not Reason.NOT_TRANSLATED


def judge(door: Door, destination: Socket, source: Socket, protocol: int, status: int) -> Reason | None:
    """Why a flow to `door` is stale: sent to `destination`, answered by `source`. None if it is not."""
    if door.serves(source):
        return None
    if source == destination:
        waits = protocol in CLEANED or not status & _SEEN_REPLY
        return Reason.NOT_TRANSLATED if waits else None
    return Reason.NOT_SERVING if door.serving else Reason.NO_ENDPOINTS


class Judge:
    """Reads raw messages and finds the stale flows among them; an Entry is made for those only."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._thin = Reader(FIELDS)
        self._full = Reader(ENTRY_FIELDS)

    @property
    def undecodable(self) -> int:
        """How many messages could not be read."""
        return self._thin.undecodable

    def stale(self, messages: Iterable[bytes]) -> Iterator[Stale]:
        """The stale flows among these messages."""
        door_of = self._services.door
        for row, message in self._thin.with_messages(messages):
            protocol, address, port, source, source_port, status, *zones = row
            door = door_of(protocol, address, port)
            if door is None or any(zones):
                continue
            reason = judge(door, (address, port), (source, source_port or 0), protocol, status or 0)
            whole = None if reason is None else self._full.row(message)
            if reason is not None and whole is not None:
                yield Stale(entry_of(whole), door, reason)


def judge_entry(services: Services, entry: Entry) -> tuple[Door | None, Reason | None]:
    """The Service port that a flow was sent to, and why it is stale; None where it is not."""
    destination, port = entry.original.destination, entry.original.destination_port
    door = None if entry.in_zone else services.door(entry.protocol, address_bytes(destination), port)
    if door is None or port is None:
        return None, None
    return door, judge(door, (address_bytes(destination), port), _endpoint(entry), entry.protocol, entry.status)


def _endpoint(entry: Entry) -> Socket:
    return address_bytes(entry.reply.source), entry.reply.source_port or 0


class Draining(Value, frozen=True):
    """Since when endpoints with TCP flows have been gone, by Service and endpoint; seconds of a monotonic clock."""

    since: Mapping[tuple[ObjectKey, Socket], float] = {}

    def after(
        self, stale: Iterable[Stale], drain_s: Mapping[ObjectKey, float], now: float
    ) -> tuple[Draining, tuple[Stale, ...]]:
        """What is known after a look at the whole table at `now`, and the flows whose time is up.

        `drain_s` holds the Services that asked for it, with their time in seconds
        (annotation kproxy.io/tcp-drain-seconds). An endpoint that serves again, or
        has no flow left, is forgotten and starts from zero.
        """
        flows = tuple(flow for flow in stale if flow.drains and flow.door.service in drain_s)
        keys = {(flow.door.service, flow.endpoint) for flow in flows}
        since = {key: self.since.get(key, now) for key in keys}
        due = {key for key, start in since.items() if now - start >= drain_s[key[0]]}
        return Draining(since), tuple(flow for flow in flows if (flow.door.service, flow.endpoint) in due)

    def next_due(self, drain_s: Mapping[ObjectKey, float]) -> float | None:
        """When the next time is up; None where nothing waits."""
        return min((start + drain_s[key[0]] for key, start in self.since.items() if key[0] in drain_s), default=None)
