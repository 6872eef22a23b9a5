"""What one Service contributes: its chains, and its leaves in the dispatch trees.

The usual Service port is one chain, and none has a chain per endpoint.
Balancing and DNAT are one rule, `-m statistic … -j DNAT`; so is affinity, two
`-m recent` matches that look the client up and remember it again. `KPROXY-INT`
and `KPROXY-EXT` hold a first-match table of routes, `KPROXY-SVC` and
`KPROXY-SVL` the pools of CLUSTER and LOCAL; a pool that only one table
ends in is written into it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from backends.iptables.leaves import Leaves, Routes, Rules, Tree, claims, health_checks, local_endpoints
from backends.iptables.names import NAT, digest, port_chain, port_digest
from backends.iptables.words import ACCEPT, HOST_MASK, Words, shares
from kproxy.core.chains import ChainId
from kproxy.core.document import Content, Fragment, ObjectId, Owner
from kproxy.core.plan import Action, Client, Endpoint, PortPlan, ServicePlan
from kproxy.core.values import Value

POOLS: Final = {Action.CLUSTER: "SVC", Action.LOCAL: "SVL"}


class Part(Value, frozen=True):
    """One Service, compiled."""

    plan: ServicePlan
    owner: Owner
    fragment: Fragment
    leaves: Leaves


class Table(Value, frozen=True):
    """A first-match table as rules, with the pool that it ends in (None: it ends in a refusal)."""

    kind: str
    head: tuple[str, ...]
    pools: tuple[Action, ...]
    """The pools that rules of the head lead to."""
    tail: Action | None


def pool_rules(pool: Sequence[Endpoint], port: PortPlan, of: str, words: Words) -> list[str]:
    """Send new connections to the endpoints, evenly; with affinity, first to the one remembered.

    The lists of xt_recent are named after port and endpoint, so that all
    frontends and both pools share a client's memory. A second `-m recent` in the same
    rule is evaluated only if the first one found the client.
    """
    targets = [f"-j DNAT --to-destination {words.target(one.address, one.port)}" for one in pool]
    if not port.affinity_s:
        return [share + target for share, target in zip(shares(port.protocol, len(pool)), targets, strict=True)]
    lists = [recent_list(of, one, words) for one in pool]
    first = shares(port.protocol, 1)[0]
    known = f"-m recent --rcheck --seconds {port.affinity_s} --reap "
    return [
        *(f"{first}{known}{name}-m recent --set {name}{to}" for name, to in zip(lists, targets, strict=True)),
        *(
            f"{share}-m recent --set {name}{to}"
            for share, name, to in zip(shares(port.protocol, len(pool)), lists, targets, strict=True)
        ),
    ]


def recent_list(of: str, endpoint: Endpoint, words: Words) -> str:
    """The options that name the list of the clients of one endpoint of a Service port."""
    name = port_chain("AFF", digest(f"{of} {endpoint.address} {endpoint.port}"))
    return f"--name {name} --mask {HOST_MASK[words.family]} --rsource "


def make_table(kind: str, routes: Routes, of: str, words: Words) -> Table:
    """The rules of a first-match table, but for its last pool."""
    if words.unless_pod and _only_pods_keep_source(routes):
        return Table(kind, (words.unless_pod + words.mark,), (), routes[-1].action)
    head: list[str] = []
    pools: list[Action] = []
    for route in routes:
        last = route.client is Client.ANY
        for match in words.clients[route.client]:
            if route.masquerade and not route.action.refuses:
                head.append(match + words.mark)
            if route.action.refuses:
                head.append(match + ACCEPT)
            elif not last:
                head.append(f"{match}-g {port_chain(POOLS[route.action], of)}")
                pools.append(route.action)
        if last:
            return Table(kind, tuple(head), tuple(pools), None if route.action.refuses else route.action)
    return Table(kind, (*head, ACCEPT), tuple(pools), None)


def _only_pods_keep_source(routes: Routes) -> bool:
    shape = [(route.client, route.masquerade) for route in routes]
    return shape == [(Client.POD, False), (Client.ANY, True)] and len({route.action for route in routes}) == 1


def port_chains(port: PortPlan, of: str, words: Words) -> tuple[dict[ObjectId, Content], Mapping[Routes, str]]:
    """The nat chains of a port; and for each table that does not refuse everybody, the chain frontends lead to."""
    tables = _tables(port, of, words)
    uses = Counter(pool for table in tables.values() for pool in (*table.pools, table.tail) if pool)
    chains: dict[ObjectId, Content] = {}
    entries: dict[Routes, str] = {}
    for routes, table in tables.items():
        entries[routes], body = _chain_of(table, port, of, words, uses)
        if body:
            chains[ChainId(NAT, entries[routes])] = body
    written = {table.tail for table in tables.values() if table.tail and uses[table.tail] == 1}
    for pool in uses.keys() - written:
        chains[ChainId(NAT, port_chain(POOLS[pool], of))] = tuple(pool_rules(port.pool(pool), port, of, words))
    return chains, entries


def _chain_of(table: Table, port: PortPlan, of: str, words: Words, uses: Mapping[Action, int]) -> tuple[str, Rules]:
    """The chain that a table's frontends lead to, and its rules; none where that is a pool's own chain."""
    if table.tail is None:
        return port_chain(table.kind, of), table.head
    pool = port_chain(POOLS[table.tail], of)
    if uses[table.tail] == 1:
        rules = (*table.head, *pool_rules(port.pool(table.tail), port, of, words))
        return port_chain(table.kind, of) if table.pools else pool, rules
    return (port_chain(table.kind, of), (*table.head, f"-g {pool}")) if table.head else (pool, ())


def _tables(port: PortPlan, of: str, words: Words) -> dict[Routes, Table]:
    """The tables that do not refuse everybody, of frontends that admit somebody."""
    internal = {frontend.kind.is_internal for frontend in port.frontends if frontend.allow_from != ()}
    kinds = {port.external: "EXT"} if False in internal else {}
    kinds |= {port.internal: "INT"} if True in internal else {}
    return {
        routes: make_table(kind, routes, of, words)
        for routes, kind in kinds.items()
        if not all(route.action.refuses for route in routes)
    }


def compile_service(plan: ServicePlan, words: Words) -> Part:
    """A Service's chains and leaves; pure, and a matter of some microseconds per endpoint."""
    chains: dict[ObjectId, Content] = {}
    leaves: dict[Tree, list[tuple[int, str]]] = {}
    for port in plan.ports:
        of = port_digest(plan.service, port.name, port.protocol)
        own, entries = port_chains(port, of, words)
        chains |= own
        for claim in claims(plan.service, port, of, entries, words):
            chains |= claim.chains
            leaves.setdefault(claim.tree, []).append((claim.key, claim.rule))
        for claim in local_endpoints(port, words):
            leaves.setdefault(claim.tree, []).append((claim.key, claim.rule))
    for claim in health_checks(plan, words):
        leaves.setdefault(claim.tree, []).append((claim.key, claim.rule))
    return Part(plan, str(plan.service), chains, {tree: tuple(pairs) for tree, pairs in leaves.items()})
