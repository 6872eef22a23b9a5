"""Why an endpoint is in a pool, or is not: the choice of `endpoints`, told for people.

The planner does not pay for this: the same predicates are asked again, when somebody wants to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kproxy.core.endpoints import (
    At,
    Candidates,
    Place,
    Topology,
    allowed_by,
    gather,
    has_port,
    is_draining,
    is_here,
    topology_of,
)
from kproxy.core.model import EndpointSlice, ServicePort, SliceEndpoint
from kproxy.core.values import Family, Value


class Standing(Value, frozen=True):
    """Whether an endpoint is in a pool, and why."""

    chosen: bool
    why: str


class EndpointStory(Value, frozen=True):
    """An endpoint of a Service port and its standing in both pools."""

    address: str
    port: int
    node: str
    """Empty when not known."""
    is_local: bool
    cluster: Standing
    local: Standing


class PortStory(Value, frozen=True):
    """All endpoints of a Service port, and what was made of the slices."""

    endpoints: tuple[EndpointStory, ...]
    topology: Topology
    notes: tuple[str, ...]
    """Hints that were followed or ignored and why; slices that do not have this port."""


def explain_endpoints(slices: Iterable[EndpointSlice], family: Family, port: ServicePort, place: Place) -> PortStory:
    """Why each endpoint of a Service port is in or out of the cluster and local pool, in the pools' order.

    Whether a pool is used at all is the traffic policies' business: see the plan's routes.
    """
    every = sorted((one for one in slices if one.family is family), key=lambda one: one.key)
    candidates = gather(every, family, port, place)
    ready = {at: entry for at, entry in candidates.items() if entry.ready}
    ready_here = {at: entry for at, entry in ready.items() if is_here(entry, place)}
    topology = topology_of(ready, place)
    endpoints = tuple(
        EndpointStory(
            address=at[0],
            port=at[1],
            node=entry.node,
            is_local=is_here(entry, place),
            cluster=_in_cluster_pool(entry, ready, topology, place),
            local=_in_local_pool(entry, ready_here, place),
        )
        for at, entry in candidates.items()
    )
    strangers = tuple(
        f"EndpointSlice {one.key} has no port {port.name or '(unnamed)'}/{port.protocol}"
        for one in every
        if not has_port(one, port)
    )
    return PortStory(endpoints, topology, (*_hint_notes(ready, topology, place), *strangers))


def _in_cluster_pool(entry: SliceEndpoint, ready: Candidates, topology: Topology, place: Place) -> Standing:
    if not entry.ready:
        return _unready(entry, ready, "")
    if topology is Topology.NONE:
        return Standing(True, "ready")
    named = entry.node_hints if topology is Topology.SAME_NODE else entry.zone_hints
    chosen = allowed_by(topology, entry, place)
    return Standing(chosen, f"ready, hinted for {'' if chosen else 'another '}{_WORD[topology]}: {', '.join(named)}")


def _in_local_pool(entry: SliceEndpoint, ready_here: Candidates, place: Place) -> Standing:
    if not is_here(entry, place):
        return Standing(False, f"on node {entry.node}" if entry.node else "on no known node")
    return Standing(True, "ready") if entry.ready else _unready(entry, ready_here, " on this node")


def _unready(entry: SliceEndpoint, ready: Candidates, where: str) -> Standing:
    if is_draining(entry):
        return Standing(not ready, f"terminating, still serving; {'an' if ready else 'no'} endpoint{where} is ready")
    return Standing(False, "terminating, no longer serving" if entry.terminating else "not ready")


def _hint_notes(ready: Candidates, topology: Topology, place: Place) -> Iterable[str]:
    if topology is Topology.SAME_NODE:
        yield f"node hints are followed: this is {place.node}"
        return
    yield from _ignored("node", ready, place.node, lambda entry: entry.node_hints)
    if topology is Topology.SAME_ZONE:
        yield f"zone hints are followed: this node is in {place.zone}"
        return
    yield from _ignored("zone", ready, place.zone, lambda entry: entry.zone_hints)


def _ignored(
    word: str, ready: Candidates, own: str, hints: Callable[[SliceEndpoint], tuple[str, ...]]
) -> Iterable[str]:
    """Why hints of one sort are not followed, if there are any."""
    without = [at for at, entry in ready.items() if not hints(entry)]
    if len(without) == len(ready):
        return
    if not own:
        yield f"{word} hints are ignored: this node's {word} is not known"
    elif without:
        yield f"{word} hints are ignored: endpoint {_text(without[0])} has none"
    else:
        yield f"{word} hints are ignored: no ready endpoint is hinted for {own}"


def _text(at: At) -> str:
    address, port = at
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


_WORD = {Topology.SAME_NODE: "node", Topology.SAME_ZONE: "zone"}
