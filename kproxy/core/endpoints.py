"""Which endpoints serve a Service port: the pools for each policy, and why each endpoint is in or out of them.

Follows kube-proxy 1.36's `topology.go` (KEP-1669 terminating endpoints,
KEP-2433 and KEP-3015 hints). Rules kept here:

- Only slices of the plan's family count, and only their ports that match the
  Service port by name and protocol.
- One address and port stands once, whatever slices repeat it; of two
  contradicting entries the one that is not terminating wins, then the ready one.
- The cluster pool holds the ready endpoints that the hints allow; without any
  ready one, all that are serving and terminating, hints ignored.
- The local pool is chosen likewise among this node's endpoints; hints never apply.
- Hints count only if *every* ready endpoint has them and one names this node
  (or its zone). A node whose zone is not known yet ignores zone hints, and
  follows them as soon as it is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

from kproxy.core.model import EndpointSlice, ServicePort, SliceEndpoint, SlicePort
from kproxy.core.plan import Endpoint
from kproxy.core.values import Family, Value, address_number

At = tuple[str, int]
"""Where an endpoint listens: address and port."""
Candidates = Mapping[At, SliceEndpoint]
"""The endpoints of a Service port, each address and port once, sorted by address number and port."""


class Place(Value, frozen=True):
    """Where we stand: what decides locality and hints."""

    node: str
    zone: str
    """Empty when not known."""


class Pools(Value, frozen=True):
    """The endpoints that a Service port may use; `cluster` is empty only if none is usable anywhere."""

    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]
    serving: tuple[Endpoint, ...]


class Topology(enum.StrEnum):
    """Which hints narrow the cluster pool."""

    NONE = "none"
    SAME_NODE = "same node"
    SAME_ZONE = "same zone"


def choose_pools(candidates: Candidates, place: Place) -> Pools:
    """The cluster, local and serving endpoints, in the candidates' order."""
    # Ready without serving happens under publishNotReadyAddresses: who may get new connections may keep old ones.
    serving = {
        at: Endpoint(at[0], at[1], is_here(entry, place))
        for at, entry in candidates.items()
        if entry.ready or entry.serving
    }
    ready = {at: entry for at, entry in candidates.items() if entry.ready}
    cluster = _narrow(ready, place) if ready else _draining(candidates)
    local = _on_node(ready, place) or _on_node(_draining(candidates), place)
    every = tuple(serving.values())
    return Pools(_pick(serving, cluster, every), _pick(serving, local, every), every)


def _pick(serving: Mapping[At, Endpoint], chosen: Candidates, every: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    # Equal pools share one tuple, so that comparing plans compares pointers.
    return every if len(chosen) == len(every) else tuple(serving[at] for at in chosen)


def gather(slices: Iterable[EndpointSlice], family: Family, port: ServicePort, place: Place) -> Candidates:
    """All endpoints of a Service port in slices of the family, whatever their condition, sorted by number and port."""
    matching = [one for one in slices if one.family is family]
    if len(matching) > 1:
        matching.sort(key=_KEY)
    found: dict[At, SliceEndpoint] = {}
    for at, entry in _entries(matching, port):
        known = found.get(at)
        if known is None or _trust(entry, place) > _trust(known, place):
            found[at] = entry
    return {at: found[at] for at in sorted(found, key=_order)} if len(found) > 1 else found


def count_local_ready(
    slices: Iterable[EndpointSlice], family: Family, ports: Iterable[ServicePort], place: Place
) -> int:
    """How many distinct addresses on this node are ready on any of the ports: what a healthCheckNodePort answers."""
    every = list(slices)
    return len(
        {
            address
            for port in ports
            for (address, _), entry in gather(every, family, port, place).items()
            if entry.ready and is_here(entry, place)
        }
    )


def topology_of(ready: Candidates, place: Place) -> Topology:
    """Whether node hints, zone hints or none narrow these ready endpoints."""
    if _all_hinted(ready, place.node, _NODE_HINTS):
        return Topology.SAME_NODE
    if place.zone and _all_hinted(ready, place.zone, _ZONE_HINTS):
        return Topology.SAME_ZONE
    return Topology.NONE


def allowed_by(topology: Topology, entry: SliceEndpoint, place: Place) -> bool:
    """Whether the hints let this node use a ready endpoint."""
    if topology is Topology.SAME_NODE:
        return place.node in entry.node_hints
    return topology is Topology.NONE or place.zone in entry.zone_hints


def is_here(entry: SliceEndpoint, place: Place) -> bool:
    """Whether it is on this node; one of no known node never is."""
    return entry.node == place.node != ""


def is_draining(entry: SliceEndpoint) -> bool:
    """Whether it may serve as the last resort: terminating, yet still serving."""
    return entry.serving and entry.terminating and not entry.ready


def has_port(one: EndpointSlice, port: ServicePort) -> bool:
    """Whether a slice serves a Service port."""
    return any(matches(it, port) for it in one.ports)


def matches(offered: SlicePort, port: ServicePort) -> bool:
    """Whether a slice's port is the Service's: same name (both may have none) and protocol."""
    return offered.name == port.name and offered.protocol is port.protocol


def _narrow(ready: Candidates, place: Place) -> Candidates:
    topology = topology_of(ready, place)
    if topology is Topology.NONE:
        return ready
    return {at: entry for at, entry in ready.items() if allowed_by(topology, entry, place)}


def _draining(candidates: Candidates) -> Candidates:
    return {at: entry for at, entry in candidates.items() if is_draining(entry)}


def _on_node(candidates: Candidates, place: Place) -> Candidates:
    return {at: entry for at, entry in candidates.items() if is_here(entry, place)}


def _entries(slices: Iterable[EndpointSlice], port: ServicePort) -> Iterator[tuple[At, SliceEndpoint]]:
    for one in slices:
        for number in {it.port for it in one.ports if matches(it, port)}:
            for entry in one.endpoints:
                yield (entry.address, number), entry


def _all_hinted(ready: Candidates, name: str, hints: Callable[[SliceEndpoint], tuple[str, ...]]) -> bool:
    named = False
    for entry in ready.values():
        given = hints(entry)
        if not given:
            return False
        named = named or name in given
    return named


def _trust(entry: SliceEndpoint, place: Place) -> tuple[bool, bool, bool, bool]:
    return not entry.terminating, entry.ready, entry.serving, is_here(entry, place)


def _order(at: At) -> tuple[int, int]:
    return address_number(at[0]), at[1]


_KEY = attrgetter("key")
_NODE_HINTS = attrgetter("node_hints")
_ZONE_HINTS = attrgetter("zone_hints")
