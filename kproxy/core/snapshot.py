"""The snapshot: all that the cluster has said, folded from events.

`fold` keeps the old object where the new one is equal, and the old mapping
where nothing in it changed, so that heartbeats, annotations and relists leave
identical values behind: whoever compares by identity sees no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from kproxy.core.changes import Edited
from kproxy.core.model import (
    Applied,
    Deleted,
    EndpointSlice,
    Event,
    Flaws,
    Kind,
    KubeObject,
    Node,
    Replaced,
    Service,
    ServiceCIDR,
    key_of,
)
from kproxy.core.values import ObjectKey, Value

V = TypeVar("V")

_FLAT_KINDS: Mapping[type[KubeObject], Kind] = {
    Service: Kind.SERVICE,
    Node: Kind.NODE,
    ServiceCIDR: Kind.SERVICE_CIDR,
}

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
    flaws: Flaws = Flaws()

    @property
    def synced(self) -> bool:
        """Whether rules may be made of this: never program half a cluster."""
        return {Kind.SERVICE, Kind.ENDPOINT_SLICE} <= self.complete


def fold(snapshot: Snapshot, events: Iterable[Event]) -> Snapshot:
    """The snapshot after the events, in their order; the same object if they change nothing.

    Costs the number of events, and one pass over the mappings that they change;
    a list, a new slice or a deleted slice costs one more pass over its kind.
    """
    draft = _Draft(snapshot)
    for event in events:
        if isinstance(event, Applied):
            draft.put(event.item)
        elif isinstance(event, Deleted):
            draft.remove(event.kind, event.key)
        elif isinstance(event, Replaced):
            draft.replace(event)
        else:
            draft.flaws = event
    return draft.snapshot()


class _Edit(Generic[V]):
    """Changes to one mapping, kept beside it until the end, so that what is undone leaves no trace."""

    def __init__(self, base: Mapping[ObjectKey, V]) -> None:
        self.base = base
        self.changes: dict[ObjectKey, V | None] = {}

    def get(self, key: ObjectKey) -> V | None:
        """The value as it now is."""
        return self.changes[key] if key in self.changes else self.base.get(key)

    def put(self, key: ObjectKey, value: V | None) -> None:
        """Set a value, or remove it with None; the base's own object stays where it is equal."""
        old = self.base.get(key)
        self.changes[key] = old if old == value else value

    def replace(self, values: Mapping[ObjectKey, V], unreadable: frozenset[ObjectKey] = frozenset()) -> None:
        """Make the values all there is, but for what was known of the unreadable keys."""
        for key in [*self.base, *self.changes]:
            if key not in values and key not in unreadable:
                self.changes[key] = None
        for key, value in values.items():
            self.put(key, value)

    def result(self) -> Mapping[ObjectKey, V]:
        """The base itself if nothing is different in the end."""
        real = {key: value for key, value in self.changes.items() if value is not self.base.get(key)}
        if not real:
            return self.base
        gone = [key for key, value in real.items() if value is None]
        return Edited(self.base, {key: value for key, value in real.items() if value is not None}, gone)


class _SliceEdit:
    """Changes to the slices: like `_Edit`, and a slice that changes its Service leaves the old one."""

    def __init__(self, base: Mapping[ObjectKey, Slices]) -> None:
        self.edit = _Edit(base)
        self._owners: dict[ObjectKey, ObjectKey] | None = None

    def put(self, item: EndpointSlice) -> None:
        """Set a slice, wherever it was before."""
        members = self.edit.get(item.service) or {}
        if item.key.name not in members:
            self.remove(item.key)
            self.owners[item.key] = item.service
        self.edit.put(item.service, self._kept({**members, item.key.name: item}, item.service))

    def remove(self, key: ObjectKey) -> None:
        owner = self.owners.pop(key, None)
        if owner is not None:
            members = {name: item for name, item in (self.edit.get(owner) or {}).items() if name != key.name}
            self.edit.put(owner, members or None)

    def replace(self, items: Iterable[EndpointSlice], unreadable: frozenset[ObjectKey]) -> None:
        known = (item for members in self._current() for item in members.values())
        current = {item.key: item for item in known if item.key in unreadable}
        current.update((item.key, item) for item in items)
        grouped: dict[ObjectKey, dict[str, EndpointSlice]] = {}
        for key, item in current.items():
            grouped.setdefault(item.service, {})[key.name] = item
        self.edit.replace({service: self._kept(members, service) for service, members in grouped.items()})
        self._owners = None

    @property
    def owners(self) -> dict[ObjectKey, ObjectKey]:
        """The Service of each slice; built when first asked for, since most changes need it not."""
        if self._owners is None:
            self._owners = {item.key: item.service for members in self._current() for item in members.values()}
        return self._owners

    def _current(self) -> Iterable[Slices]:
        """The slices of each Service as they now are."""
        if not self.edit.changes:
            return self.edit.base.values()
        merged = {**self.edit.base, **self.edit.changes}
        return (members for members in merged.values() if members)

    def _kept(self, members: Slices, service: ObjectKey) -> Slices:
        """The members, each the base's own object where it is equal."""
        before = self.edit.base.get(service, {})
        return {name: before[name] if before.get(name) == item else item for name, item in members.items()}


class _Draft:
    """A snapshot in the making."""

    def __init__(self, base: Snapshot) -> None:
        self.base = base
        self.services = _Edit(base.services)
        self.slices = _SliceEdit(base.slices)
        self.nodes = _Edit(base.nodes)
        self.service_cidrs = _Edit(base.service_cidrs)
        self.complete = base.complete
        self.flaws = base.flaws
        self.flat: Mapping[Kind, _Edit[Any]] = {
            Kind.SERVICE: self.services,
            Kind.NODE: self.nodes,
            Kind.SERVICE_CIDR: self.service_cidrs,
        }

    def put(self, item: KubeObject) -> None:
        """Set an object of any kind."""
        if isinstance(item, EndpointSlice):
            self.slices.put(item)
        else:
            self.flat[_FLAT_KINDS[type(item)]].put(key_of(item), item)

    def remove(self, kind: Kind, key: ObjectKey) -> None:
        if kind is Kind.ENDPOINT_SLICE:
            self.slices.remove(key)
        else:
            self.flat[kind].put(key, None)

    def replace(self, event: Replaced) -> None:
        if event.kind is Kind.ENDPOINT_SLICE:
            self.slices.replace([item for item in event.items if isinstance(item, EndpointSlice)], event.unreadable)
        else:
            self.flat[event.kind].replace({key_of(item): item for item in event.items}, event.unreadable)
        self.complete |= {event.kind}

    def snapshot(self) -> Snapshot:
        """The result; the base itself if no part of it is another object."""
        base = self.base
        services, slices = self.services.result(), self.slices.edit.result()
        nodes, service_cidrs = self.nodes.result(), self.service_cidrs.result()
        is_same = services is base.services and slices is base.slices
        is_same = is_same and nodes is base.nodes and service_cidrs is base.service_cidrs
        if is_same and (self.complete, self.flaws) == (base.complete, base.flaws):
            return base
        return Snapshot(services, slices, nodes, service_cidrs, self.complete, self.flaws)
