"""The leaves of the dispatch trees: by which rules a packet finds its Service, or is refused.

In the nat table a frontend's leaf leads to the Service's chains. A packet that
is to be refused is accepted there as it is, so that no NodePort and nobody
else's rule takes it, and what in the filter table still has a frontend's
destination is refused: whoever was admitted has an endpoint's address by then.
So one rule suffices for a frontend, unless some of its clients get a
REJECT and others a DROP.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence

from backends.iptables import names
from backends.iptables.names import FILTER, NAT, digest, port_chain
from backends.iptables.tree import Layout, port_key
from backends.iptables.words import ACCEPT, DROP, LOWER, MASQUERADE, Words, comment
from kproxy.core.chains import ChainId
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.plan import Action, Frontend, PortPlan, Route, ServicePlan
from kproxy.core.values import Network, ObjectKey, Protocol, Value, address_number

Routes = tuple[Route, ...]
Rules = tuple[str, ...]


class Tree(enum.Enum):
    """The dispatch trees; the value is the owner of a tree's chains in the Document."""

    VIPS = "tree-vips"
    NODE_PORTS = "tree-nodeports"
    HAIRPIN = "tree-hairpin"
    REFUSED = "tree-refused"
    REFUSED_NODE_PORTS = "tree-refused-nodeports"
    UNLISTED = "tree-unlisted"
    HEALTH_CHECKS = "tree-health"


Leaves = Mapping[Tree, tuple[tuple[int, str], ...]]
"""By tree: keys and rules."""


def layouts(words: Words) -> Mapping[Tree, Layout]:
    """The trees of a family, and how they are laid out.

    There is one of unlisted ports only where these are refused: to spare
    addresses of a range and drop the rest takes a chain without branches.
    """
    family, bits = words.family, words.family.address_bits
    unlisted = {Tree.UNLISTED: Layout(names.UNLISTED, "U", family, bits, 0)} if words.unlisted == words.reject else {}
    return {
        **unlisted,
        Tree.VIPS: Layout(names.VIPS, "V", family, bits),
        Tree.NODE_PORTS: Layout(names.NODE_PORTS, "P", family, 0),
        Tree.HAIRPIN: Layout(names.HAIRPIN, "H", family, bits, 0, "-s"),
        Tree.REFUSED: Layout(names.REFUSED, "R", family, bits),
        Tree.REFUSED_NODE_PORTS: Layout(names.REFUSED_NODE_PORTS, "P", family, 0),
        Tree.HEALTH_CHECKS: Layout(names.HEALTH_CHECKS, "C", family, 0),
    }


class Claim(Value, frozen=True):
    """A leaf of a tree, with the chains that it needs of its own."""

    tree: Tree
    key: int
    rule: str
    chains: Mapping[ObjectId, Content] = {}


def claims(service: ObjectKey, port: PortPlan, of: str, entries: Mapping[Routes, str], words: Words) -> Iterator[Claim]:
    """All leaves of a port's frontends; `entries`: the chain that each first-match table begins with."""
    for frontend in port.frontends:
        number = address_number(frontend.address) if frontend.address else 0
        key = port_key(number, port.protocol, frontend.port)
        match = _match(service, port, frontend, words)
        routes = port.routes(frontend.kind)
        fence = _fence(frontend.allow_from)
        chains, verdict = _admission(frontend, of, fence, entries.get(routes), words)
        yield Claim(Tree.VIPS if frontend.address else Tree.NODE_PORTS, key, match + verdict, chains)
        chains, verdict = _refusal(frontend, of, fence, routes, words)
        if verdict:
            yield Claim(Tree.REFUSED if frontend.address else Tree.REFUSED_NODE_PORTS, key, match + verdict, chains)
        if frontend.address and frontend.kind.is_internal and words.unlisted:
            yield Claim(Tree.UNLISTED, number, f"-d {words.host(frontend.address)} {words.unlisted}")


def local_endpoints(port: PortPlan, words: Words) -> Iterator[Claim]:
    """What masquerades a pod of this node that reaches itself: only it can have its own address as both ends."""
    for endpoint in {one.address: one for one in (*port.cluster, *port.local) if one.is_local}.values():
        host = words.host(endpoint.address)
        yield Claim(Tree.HAIRPIN, address_number(endpoint.address), f"-s {host} -d {host} {MASQUERADE}")


def health_checks(plan: ServicePlan, words: Words) -> Iterator[Claim]:
    """What admits load balancers to the health-check port."""
    if plan.health_check and words.accepts_health_checks:
        port = plan.health_check.port
        note = comment(f"{plan.service} health check")
        key = port_key(0, Protocol.TCP, port)
        yield Claim(Tree.HEALTH_CHECKS, key, f"-p tcp {note}-m tcp --dport {port} {ACCEPT}")


def _match(service: ObjectKey, port: PortPlan, frontend: Frontend, words: Words) -> str:
    protocol = LOWER[port.protocol]
    where = f"-d {words.host(frontend.address)} " if frontend.address else ""
    note = comment(f"{service}:{port.name} {frontend.kind}")
    return f"{where}-p {protocol} {note}-m {protocol} --dport {frontend.port} "


def _fence(allow_from: tuple[Network, ...] | None) -> tuple[Network, ...] | None:
    """The sources that may come; None: everybody."""
    if allow_from is None or any(network.prefixlen == 0 for network in allow_from):
        return None
    return allow_from


def _own_chain(table: str, of: str, frontend: Frontend) -> ChainId:
    return ChainId(table, port_chain("FW", digest(f"{of} {frontend.address} {frontend.port}")))


def _admission(
    frontend: Frontend, of: str, fence: tuple[Network, ...] | None, entry: str | None, words: Words
) -> tuple[Fragment, str]:
    if entry is None or fence == ():
        return {}, ACCEPT
    if fence is None:
        return {}, f"-g {entry}"
    chain = _own_chain(NAT, of, frontend)
    return {chain: (*(f"{words.source(network)}-g {entry}" for network in fence), ACCEPT)}, f"-g {chain.chain}"


def _refusal(
    frontend: Frontend, of: str, fence: tuple[Network, ...] | None, routes: Routes, words: Words
) -> tuple[Fragment, str]:
    """The chains and verdict for what was not admitted; no verdict where everybody is."""
    rows = _refusing_rows(routes, words)
    verdicts = {verdict for _, verdict in rows} | ({DROP} if fence is not None else set())
    if fence == ():
        return {}, DROP
    if len(verdicts) <= 1:
        return {}, next(iter(verdicts), "")
    chain = _own_chain(FILTER, of, frontend)
    if fence is None:
        return {chain: tuple(match + verdict for match, verdict in rows)}, f"-g {chain.chain}"
    if len(rows) == 1 and not rows[0][0]:
        return {chain: (*(words.source(network) + words.reject for network in fence), DROP)}, f"-g {chain.chain}"
    inner = ChainId(FILTER, port_chain("REF", digest(f"{of} {frontend.address} {frontend.port}")))
    admitted = tuple(f"{words.source(network)}-g {inner.chain}" for network in fence)
    return {chain: (*admitted, DROP), inner: tuple(match + verdict for match, verdict in rows)}, f"-g {chain.chain}"


def _refusing_rows(routes: Routes, words: Words) -> Sequence[tuple[str, str]]:
    """The rows of a table that refuse, as match and verdict."""
    verdicts = {Action.REJECT: words.reject, Action.DROP: DROP}
    return [
        (match, verdicts[route.action])
        for route in routes
        if route.action.refuses
        for match in words.clients[route.client]
    ]
