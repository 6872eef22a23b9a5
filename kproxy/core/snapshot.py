"""The snapshot: all that the cluster has said, folded from events.

`fold` keeps the old object where the new one is equal, and the old mapping
where nothing in it changed, so that heartbeats, annotations and relists leave
identical values behind: whoever compares by identity sees no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kproxy.core.model import (
    Applied,
    Deleted,
    EndpointSlice,
    Event,
    Kind,
    KubeObject,
    Node,
    Replaced,
    Service,
    ServiceCIDR,
    key_of,
)
from kproxy.core.values import ObjectKey, Value

Slices = Mapping[str, EndpointSlice]
"""The slices of one Service by name."""


class Snapshot(Value, frozen=True):
    """What the cluster says, now. `complete` names the kinds that have been listed at least once."""

    services: Mapping[ObjectKey, Service] = {}
    slices: Mapping[ObjectKey, Slices] = {}
    """By the key of the Service that they belong to."""
    nodes: Mapping[ObjectKey, Node] = {}
    service_cidrs: Mapping[ObjectKey, ServiceCIDR] = {}
    complete: frozenset[Kind] = frozenset()

    @property
    def synced(self) -> bool:
        """Whether rules may be made of this: never program half a cluster."""
        return {Kind.SERVICE, Kind.ENDPOINT_SLICE} <= self.complete
