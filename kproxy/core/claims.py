"""Who owns an address and port: claims that several Services make are settled once, here, for every backend.

Rules, in this order:

- A ClusterIP goes before every other use of an address: the API server
  allocated it, while an external address is only somebody's wish (CVE-2020-8554).
- Then the oldest Service wins, by creation time and then by key.
- NodePorts and health-check ports are one space: both listen on the node.

Within one Service the first use of an address stands: ClusterIP, then load
balancer address (it may be fenced, so the fence holds), then external address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from kproxy.core.model import Service, ServicePort, ServiceType, TrafficPolicy
from kproxy.core.plan import Conflict, FrontendKind
from kproxy.core.values import Family, ObjectKey, Protocol, Value, family_of

Claim = tuple[str, int, Protocol]
"""A place that can have one owner: address (empty for the node's own), port and protocol."""
Wish = tuple[FrontendKind, str | None, int]
"""A frontend that a Service port asks for: kind, address (None for a NodePort) and port."""
Bid = tuple[bool, str, ObjectKey]
"""Who wants a claim; sorts by right to it: not a ClusterIP, creation time, key."""


class Scope(Value, frozen=True):
    """Which of a Service's fields count."""

    family: Family
    external_ips: bool


class Ledger(Value, frozen=True):
    """All claims of all Services, settled."""

    scope: Scope
    bids: Mapping[Claim, tuple[Bid, ...]]
    """Whoever wants it, the owner first."""
    contested: frozenset[Claim]
    """Claims with more than one bid: few, if any."""
    lost: Mapping[ObjectKey, frozenset[Claim]]
    """By loser; Services that lost nothing are not here."""
    conflicts: tuple[Conflict, ...]


def reachable_at(service: Service, scope: Scope) -> tuple[tuple[FrontendKind, str], ...]:
    """The addresses that a Service wants in this family, by right; none where it has no ClusterIP of the family."""
    cluster = [address for address in service.cluster_ips if family_of(address) is scope.family]
    if not cluster:
        return ()
    external = service.external_ips if scope.external_ips else ()
    if not external and not service.load_balancer_ips:
        return tuple((FrontendKind.CLUSTER, address) for address in cluster)
    asked = dict.fromkeys(cluster, FrontendKind.CLUSTER)
    for kind, addresses in ((FrontendKind.LOAD_BALANCER, service.load_balancer_ips), (FrontendKind.EXTERNAL, external)):
        for address in addresses:
            if family_of(address) is scope.family:
                asked.setdefault(address, kind)
    return tuple((kind, address) for address, kind in asked.items())


def wishes(at: Iterable[tuple[FrontendKind, str]], port: ServicePort) -> Iterator[Wish]:
    """The frontends that a Service port asks for at these addresses, and its NodePort."""
    for kind, address in at:
        yield kind, address, port.port
    if port.node_port:
        yield FrontendKind.NODE_PORT, None, port.node_port


def health_check_port(service: Service) -> int:
    """The health-check port that counts, else 0: only for type LoadBalancer with external policy Local."""
    if service.type is ServiceType.LOAD_BALANCER and service.external_policy is TrafficPolicy.LOCAL:
        return service.health_check_port
    return 0


def settle(services: Mapping[ObjectKey, Service], scope: Scope) -> Ledger:
    """Settle the claims of all Services."""
    return _settled(services, scope, {}, set(), services.values())


def amend(
    ledger: Ledger,
    before: Mapping[ObjectKey, Service],
    services: Mapping[ObjectKey, Service],
    touched: Collection[ObjectKey],
) -> Ledger:
    """What `settle` would say of `services`, from the ledger of `before`; they differ in the touched keys only."""
    bids, contested = dict(ledger.bids), set(ledger.contested)
    _withdraw([before[key] for key in touched if key in before], ledger.scope, bids, contested)
    return _settled(services, ledger.scope, bids, contested, [services[key] for key in touched if key in services])


def _settled(
    services: Mapping[ObjectKey, Service],
    scope: Scope,
    bids: dict[Claim, tuple[Bid, ...]],
    contested: set[Claim],
    entering: Iterable[Service],
) -> Ledger:
    _enter(entering, scope, bids, contested)
    lost, conflicts = _verdicts(services, bids, contested)
    return Ledger(scope, bids, frozenset(contested), lost, conflicts)


def _claims(service: Service, scope: Scope) -> dict[Claim, bool]:
    """A Service's claims; the value says whether it is for something else than a ClusterIP."""
    at = reachable_at(service, scope)
    if not at:
        return {}
    claims: dict[Claim, bool] = {}
    for port in service.ports:
        for kind, address, number in wishes(at, port):
            claims.setdefault((address or "", number, port.protocol), not kind.is_internal)
    health = health_check_port(service)
    if health:
        claims.setdefault(("", health, Protocol.TCP), True)
    return claims


def _enter(
    services: Iterable[Service], scope: Scope, bids: dict[Claim, tuple[Bid, ...]], contested: set[Claim]
) -> None:
    for service in services:
        # One tuple for all claims of a Service, since nearly all of them have one bid.
        single = tuple(((right, service.created, service.key),) for right in (False, True))
        for claim, right in _claims(service, scope).items():
            others = bids.get(claim)
            if others is None:
                bids[claim] = single[right]
            else:
                bids[claim] = tuple(sorted(others + single[right]))
                contested.add(claim)


def _withdraw(
    services: Iterable[Service], scope: Scope, bids: dict[Claim, tuple[Bid, ...]], contested: set[Claim]
) -> None:
    for service in services:
        for claim in _claims(service, scope):
            others = tuple(bid for bid in bids[claim] if bid[2] != service.key)
            if others:
                bids[claim] = others
            else:
                del bids[claim]
            if len(others) < 2:  # noqa: PLR2004 - a contest needs two
                contested.discard(claim)


def _verdicts(
    services: Mapping[ObjectKey, Service], bids: Mapping[Claim, tuple[Bid, ...]], contested: Iterable[Claim]
) -> tuple[dict[ObjectKey, frozenset[Claim]], tuple[Conflict, ...]]:
    lost: dict[ObjectKey, frozenset[Claim]] = {}
    conflicts: list[Conflict] = []
    for claim in sorted(contested):
        (_, _, winner), *losers = bids[claim]
        for _, _, loser in losers:
            lost[loser] = lost.get(loser, frozenset()) | {claim}
            conflicts.append(Conflict(_describe(claim, services[loser]), loser, winner))
    return lost, tuple(conflicts)


def _describe(claim: Claim, loser: Service) -> str:
    address, port, protocol = claim
    if address:
        return f"[{address}]:{port}/{protocol}" if ":" in address else f"{address}:{port}/{protocol}"
    if any(one.node_port == port and one.protocol is protocol for one in loser.ports):
        return f"NodePort {port}/{protocol}"
    return f"health check port {port}"
