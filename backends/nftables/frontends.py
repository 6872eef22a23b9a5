"""What one Service contributes: its set elements, and what it shares with others.

This is the hot path of a full compile: names are looked up, not built, and
addresses are packed once per endpoint.
"""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

from backends.nftables.layout import CLUSTER_IPS, REFUSED_NODEPORTS, SOURCE_RANGES, Words, pool_map, prefix, sticky_map
from backends.nftables.objects import Element, ElementId, element_id
from backends.nftables.rules import host32
from backends.nftables.shapes import Shape
from backends.nftables.sticky import sticky_chain, sticky_name, sticky_objects
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.networks import collapsed
from kproxy.core.plan import Action, Client, Endpoint, Frontend, PortPlan, Route, ServicePlan
from kproxy.core.values import ObjectKey, Protocol

COMMENT_LENGTH = 127
"""nft takes 128 with the final zero byte (NFTNL_UDATA_COMMENT_MAXLEN)."""
_NOT_IN_COMMENTS = re.compile(r"[^A-Za-z0-9._/:-]")
_PROTOCOLS = {protocol: bytes([protocol.number, 0, 0, 0]) for protocol in Protocol}
_PORT_ENDING = b"\0\0"


class Uses(NamedTuple):
    """What a Service needs that others may need too, by name; the compiler counts it."""

    shapes: list[str]
    pools: list[str]
    hairpins: list[str]
    """Local endpoints' addresses."""
    cluster_ips: set[str]


class Part(NamedTuple):
    """A Service's fragment and its uses."""

    fragment: Fragment
    uses: Uses


def compile_service(service: ServicePlan, words: Words, contested: frozenset[str]) -> Part:
    """The Service's part; `contested` are ClusterIPs of several Services, which none of them may own."""
    objects: dict[ObjectId, Content] = {}
    uses = Uses([], [], [], cluster_ips_of(service))
    for port in service.ports:
        _add_port(objects, uses, service.service, port, words)
    for address in uses.cluster_ips:
        if address not in contested:
            element = Element(b"", comment_of(service.service))
            objects[element_id(CLUSTER_IPS, words.pack(address))] = element
    return Part(objects, uses)


def cluster_ips_of(service: ServicePlan) -> set[str]:
    """The addresses of its internal frontends."""
    return {
        frontend.address
        for port in service.ports
        for frontend in port.frontends
        if frontend.address is not None and frontend.kind.is_internal
    }


def comment_of(service: ObjectKey, port: str = "") -> str:
    """`ns/name:port`, cut to what nft takes."""
    text = f"{service.namespace}/{service.name}:{port}" if port else f"{service.namespace}/{service.name}"
    if '"' in text or not (text.isascii() and text.isprintable()):
        text = _NOT_IN_COMMENTS.sub("_", text)
    return text[:COMMENT_LENGTH]


def _add_port(objects: dict[ObjectId, Content], uses: Uses, service: ObjectKey, port: PortPlan, words: Words) -> None:
    element = Element(b"", comment_of(service, port.name))
    targets = {Action.CLUSTER: _targets(port.cluster, words, uses), Action.LOCAL: _targets(port.local, words, uses)}
    sticky = sticky_name(service, port) if port.affinity_s and (port.cluster or port.local) else ""
    if sticky:
        objects.update(sticky_objects(sticky, port, words))
    for frontend in port.frontends:
        routes = port.routes(frontend.kind)
        key = frontend_key(frontend, port.protocol, words)
        node_port = frontend.address is None
        if node_port and routes == REFUSED:
            objects[element_id(REFUSED_NODEPORTS, key)] = element
            continue
        shape, head, actions = _shape(node_port, frontend.allow_from is not None, bool(sticky), routes)
        uses.shapes.append(shape)
        objects[head + key] = element
        if frontend.allow_from is not None:
            objects.update(_fence(frontend, key, words))
        for action in actions:
            if sticky:
                chain = Element(sticky_chain(sticky, action).encode(), element.comment)
                objects[element_id(sticky_map(action, node_port=node_port), key)] = chain
            elif found := targets[action]:
                pool, head = _pool(node_port, action, len(found))
                uses.pools.append(pool)
                head += key
                for index, target in enumerate(found):
                    objects[head + INDEXES[index]] = target


REFUSED = (Route(Client.ANY, False, Action.REJECT),)
"""The routes of a Service without endpoints anywhere."""


class _Indexes(dict[int, bytes]):
    """Pool indexes as a random number stands in a register."""

    def __missing__(self, index: int) -> bytes:
        return self.setdefault(index, host32(index))


INDEXES = _Indexes()


def frontend_key(frontend: Frontend, protocol: Protocol, words: Words) -> bytes:
    """K, or N for a NodePort, as it stands in the registers."""
    port = _PROTOCOLS[protocol] + frontend.port.to_bytes(2, "big") + _PORT_ENDING
    return port if frontend.address is None else words.pack(frontend.address) + port


def _targets(pool: tuple[Endpoint, ...], words: Words, uses: Uses) -> list[Element]:
    """The endpoints as map data; where they are local, they may meet themselves."""
    number, pack = words.number, socket.inet_pton
    uses.hairpins.extend(endpoint.address for endpoint in pool if endpoint.is_local)
    return [
        Element(pack(number, endpoint.address) + endpoint.port.to_bytes(2, "big") + _PORT_ENDING) for endpoint in pool
    ]


def _fence(frontend: Frontend, key: bytes, words: Words) -> Iterator[tuple[ElementId, Element]]:
    name = prefix(node_port=frontend.address is None) + SOURCE_RANGES
    for network in collapsed(frontend.allow_from or (), words.family):
        first, last = network.network_address.packed, network.broadcast_address.packed
        yield element_id(name, key + first + key + last), Element()


@functools.lru_cache(maxsize=4096)
def _shape(
    node_port: bool,  # noqa: FBT001 - positional for the cache
    fenced: bool,  # noqa: FBT001 - likewise
    sticky: bool,  # noqa: FBT001 - likewise
    routes: tuple[Route, ...],
) -> tuple[str, ElementId, tuple[Action, ...]]:
    """A shape's name, what its elements' ids begin with, and the pools it reaches."""
    name = Shape(node_port, fenced, sticky, routes).name
    return name, element_id(name, b""), tuple(sorted({one.action for one in routes if not one.action.refuses}))


@functools.lru_cache(maxsize=4096)
def _pool(node_port: bool, action: Action, size: int) -> tuple[str, ElementId]:  # noqa: FBT001 - for the cache
    """A pool map's name, and what its elements' ids begin with."""
    name = pool_map(action, size, node_port=node_port)
    return name, element_id(name, b"")
