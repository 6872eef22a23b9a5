"""Affinity: the only Services that have chains of their own.

Per Service port: a dynamic set of clients per endpoint, and a chain per pool.
The chain first sends a remembered client back, then chooses at random; either
way the client is remembered anew. All frontends of the port lead to the same
chain, so they share the memory. The names hold a digest of port and time-out:
another time-out is another memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from backends.nftables import rules as r
from backends.nftables.layout import STICKY, Words
from backends.nftables.objects import Chain, Rule, Set, chain_id, set_id
from kproxy.core.document import Content, ObjectId
from kproxy.core.plan import Action, Endpoint, PortPlan
from kproxy.core.values import ObjectKey

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
DIGEST_LENGTH = 8


def sticky_name(service: ObjectKey, port: PortPlan) -> str:
    """What the names of this port's sets and chains begin with: `sticky/ns/name/port/1f2e3d4c`."""
    text = f"{service}:{port.name}:{port.protocol}:{port.affinity_s}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
    parts = (_NOT_IN_NAMES.sub("_", part) for part in (service.namespace, service.name, port.name or "-"))
    return "/".join((STICKY, *parts, digest))


def sticky_chain(name: str, action: Action) -> str:
    """The chain of one pool."""
    return f"{name}/{action}"


def _clients(name: str, endpoint: Endpoint) -> str:
    return f"{name}/{endpoint.address.replace(':', '.')}/{endpoint.port}"


def sticky_objects(name: str, port: PortPlan, words: Words) -> Iterator[tuple[ObjectId, Content]]:
    """The sets and chains of a port with affinity, for those pools that its routes reach."""
    frontends = {frontend.kind for frontend in port.frontends}
    actions = {route.action for kind in frontends for route in port.routes(kind) if not route.action.refuses}
    clients = Set((words.saddr,), timeout_s=port.affinity_s)
    for action in sorted(actions):
        pool = port.pool(action)
        yield from ((set_id(_clients(name, endpoint)), clients) for endpoint in pool)
        yield chain_id(sticky_chain(name, action)), Chain(None, tuple(_pool_rules(name, port, pool, words)))


def _pool_rules(name: str, port: PortPlan, pool: tuple[Endpoint, ...], words: Words) -> Iterator[Rule]:
    sends = [
        (_clients(name, endpoint), r.dnat_to(words, port.protocol, endpoint.address, endpoint.port))
        for endpoint in pool
    ]
    for clients, dnat in sends:
        yield (*r.in_set(words, (words.saddr,), clients), *r.remember(words, clients), *dnat)
    for left, (clients, dnat) in zip(range(len(sends), 0, -1), sends, strict=True):
        choice = r.one_in(left) if left > 1 else ()
        yield (*choice, *r.remember(words, clients), *dnat)
    # A full memory stops the rules above; nobody is refused for that.
    yield from (dnat for _, dnat in sends[-1:])
