"""What one Service contributes: its set elements, and what it shares with others.

This is the hot path of a full compile: names are looked up, not built, and
addresses are packed once per endpoint.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from backends.nftables.layout import (
    CLUSTER_IPS,
    REFUSED_NODEPORTS,
    SOURCE_RANGES,
    Words,
    prefix,
    sticky_map,
)
from backends.nftables.objects import Element
from backends.nftables.rules import host32
from backends.nftables.shapes import Pool, Shape
from backends.nftables.sticky import sticky_chain, sticky_name, sticky_objects
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.networks import collapsed
from kproxy.core.plan import Action, Client, Endpoint, Frontend, FrontendKind, PortPlan, Route, ServicePlan
from kproxy.core.values import ObjectKey, Protocol, Value

COMMENT_LENGTH = 127
"""nft takes 128 with the final zero byte (NFTNL_UDATA_COMMENT_MAXLEN)."""
_NOT_IN_COMMENTS = re.compile(r"[^A-Za-z0-9._/:-]")
_PROTOCOL = {protocol: bytes([protocol.number, 0, 0, 0]) for protocol in Protocol}


class Uses(Value, frozen=True):
    """What a Service needs that others may need too; the compiler counts it."""

    shapes: frozenset[Shape]
    pools: frozenset[Pool]
    hairpins: frozenset[str]
    """Local endpoints' addresses."""
    cluster_ips: frozenset[str]


class Part(Value, frozen=True):
    """A Service's fragment and its uses."""

    fragment: Fragment
    uses: Uses


class _Builder:
    """Collects a Service's objects while its ports and frontends are walked."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.objects: dict[ObjectId, Content] = {}
        self.shapes: set[Shape] = set()
        self.pools: set[Pool] = set()


def compile_service(service: ServicePlan, words: Words, contested: frozenset[str]) -> Part:
    """The Service's part; `contested` are ClusterIPs of several Services, which none of them may own."""
    builder = _Builder(words)
    for port in service.ports:
        _add_port(builder, service.service, port)
    cluster_ips = frozenset(
        frontend.address
        for port in service.ports
        for frontend in port.frontends
        if frontend.kind is FrontendKind.CLUSTER and frontend.address is not None
    )
    comment = comment_of(service.service)
    for address in cluster_ips - contested:
        builder.objects[CLUSTER_IPS, words.pack(address)] = Element(b"", comment)
    hairpins = frozenset(
        endpoint.address
        for port in service.ports
        for pool in (port.cluster, port.local)
        for endpoint in pool
        if endpoint.is_local
    )
    uses = Uses(frozenset(builder.shapes), frozenset(builder.pools), hairpins, cluster_ips)
    return Part(builder.objects, uses)


def comment_of(service: ObjectKey, port: str = "") -> str:
    """`ns/name:port`, cut to what nft takes."""
    text = f"{service}:{port}" if port else str(service)
    return _NOT_IN_COMMENTS.sub("_", text)[:COMMENT_LENGTH]


def _add_port(builder: _Builder, service: ObjectKey, port: PortPlan) -> None:
    element = Element(b"", comment_of(service, port.name))
    targets = {action: _targets(port.pool(action), builder.words) for action in (Action.CLUSTER, Action.LOCAL)}
    sticky = sticky_name(service, port) if port.affinity_s and (port.cluster or port.local) else ""
    if sticky:
        builder.objects.update(sticky_objects(sticky, port, builder.words))
    for frontend in port.frontends:
        routes = port.routes(frontend.kind)
        key = frontend_key(frontend, port.protocol, builder.words)
        if frontend.address is None and routes == REFUSED:
            builder.objects[REFUSED_NODEPORTS, key] = element
            continue
        shape, name, actions = _shape(frontend.address is None, frontend.allow_from is not None, bool(sticky), routes)
        builder.shapes.add(shape)
        builder.objects[name, key] = element
        builder.objects.update(_fence(frontend, key, builder.words))
        for action in actions:
            if sticky:
                chain = sticky_chain(sticky, action).encode()
                builder.objects[sticky_map(action, node_port=shape.node_port), key] = Element(chain, element.comment)
            elif targets[action]:
                pool, map_name = _pool(shape.node_port, action, len(targets[action]))
                builder.pools.add(pool)
                builder.objects.update(
                    ((map_name, key + INDEXES[index]), target) for index, target in enumerate(targets[action])
                )


REFUSED = (Route(Client.ANY, False, Action.REJECT),)
"""The routes of a Service without endpoints anywhere."""


class _Indexes(dict[int, bytes]):
    """Pool indexes as a random number stands in a register."""

    def __missing__(self, index: int) -> bytes:
        return self.setdefault(index, host32(index))


INDEXES = _Indexes()


def frontend_key(frontend: Frontend, protocol: Protocol, words: Words) -> bytes:
    """K, or N for a NodePort, as it stands in the registers."""
    port = _PROTOCOL[protocol] + frontend.port.to_bytes(2, "big") + b"\0\0"
    return port if frontend.address is None else words.pack(frontend.address) + port


def _targets(pool: tuple[Endpoint, ...], words: Words) -> list[Element]:
    pack = words.pack
    return [Element(pack(endpoint.address) + endpoint.port.to_bytes(2, "big") + b"\0\0") for endpoint in pool]


def _fence(frontend: Frontend, key: bytes, words: Words) -> Iterator[tuple[ObjectId, Content]]:
    name = prefix(node_port=frontend.address is None) + SOURCE_RANGES
    for network in collapsed(frontend.allow_from or (), words.family):
        first, last = network.network_address.packed, network.broadcast_address.packed
        yield (name, key + first + key + last), Element()


@functools.lru_cache(maxsize=4096)
def _shape(
    node_port: bool,  # noqa: FBT001 - positional for the cache
    fenced: bool,  # noqa: FBT001 - likewise
    sticky: bool,  # noqa: FBT001 - likewise
    routes: tuple[Route, ...],
) -> tuple[Shape, str, tuple[Action, ...]]:
    shape = Shape(node_port, fenced, sticky, routes)
    actions = tuple(sorted({route.action for route in routes if not route.action.refuses}))
    return shape, shape.name, actions


@functools.lru_cache(maxsize=4096)
def _pool(node_port: bool, action: Action, size: int) -> tuple[Pool, str]:  # noqa: FBT001 - positional for the cache
    pool = Pool(node_port, action, size)
    return pool, pool.map
