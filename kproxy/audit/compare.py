"""The difference between what a plan wants and what stands, Service by Service."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping

from kproxy.audit.standing import At, Held, Spot, Standing, endpoint_text
from kproxy.core.plan import Action, Client, FrontendKind, NodePlan, PortPlan, Route
from kproxy.core.values import Family, Value, address_number, family_of


class Kind(enum.StrEnum):
    """In what something differs."""

    MISSING = "missing"
    """A frontend, an endpoint or an object is wanted and is not there."""
    EXTRA = "extra"
    """It is there and nothing wants it."""
    CHANGED = "changed"
    """It is there with another content."""
    POLICY = "policy"
    """The right frontend treats its clients otherwise: refusal, masquerade, source ranges, affinity."""


class Difference(Value, frozen=True):
    """One thing that is not as it should be."""

    service: str
    """`namespace/name`, or a word for what no single Service owns."""
    family: Family
    kind: Kind
    where: str
    """The frontend, or the object as its tool writes it."""
    what: str
    """In words, as the end of a sentence that begins with `where`."""
    known: str = ""
    """Why kube-proxy does so by design, in words; such a difference is told, and is no fault."""


def wanted(plan: NodePlan) -> dict[Spot, Held]:
    """What a plan wants a stranger to meet, by frontend."""
    found: dict[Spot, Held] = {}
    for key, service in plan.services.items():
        for port in service.ports:
            for frontend in port.frontends:
                spot = Spot(frontend.address or "", frontend.port, port.protocol)
                fenced = frontend.allow_from is not None
                found[spot] = _wanted(str(key), port, frontend.kind, fenced=fenced)
    return found


def _wanted(service: str, port: PortPlan, kind: FrontendKind, *, fenced: bool) -> Held:
    route = _for_strangers(port.routes(kind))
    if route.action.refuses:
        refusal = "REJECT" if route.action is Action.REJECT else "DROP"
        return Held(service, refusal=refusal, fenced=fenced)
    pool = frozenset((one.address, one.port) for one in port.pool(route.action))
    return Held(service, pool, "", route.masquerade, fenced, port.affinity_s)


def _for_strangers(routes: Iterable[Route]) -> Route:
    """The row that a client meets which is neither a pod nor this node."""
    return next(route for route in routes if route.client is Client.ANY)


def compare(family: Family, want: Mapping[Spot, Held], have: Standing) -> list[Difference]:
    """What differs, by Service and frontend."""
    found: list[Difference] = []
    for spot in sorted(want.keys() | have.frontends.keys(), key=_order):
        wish, held = want.get(spot), have.frontends.get(spot)
        if held is None and wish is not None:
            found.append(Difference(wish.service, family, Kind.MISSING, str(spot), "is not there"))
        elif wish is None and held is not None:
            owner = held.service or "unknown"
            found.append(Difference(owner, family, Kind.EXTRA, str(spot), "is there, and no Service has it"))
        elif wish is not None and held is not None:
            found.extend(
                Difference(wish.service, family, kind, str(spot), what) for kind, what in _in_detail(wish, held)
            )
    return found


def _order(spot: Spot) -> tuple[bool, int, int, str]:
    is_node_port = not spot.address
    return is_node_port, 0 if is_node_port else address_number(spot.address), spot.port, spot.protocol


def _in_detail(wish: Held, held: Held) -> Iterator[tuple[Kind, str]]:
    if held.service and held.service != wish.service:
        yield Kind.POLICY, f"is held by Service {held.service}"
        return
    if wish.refusal != held.refusal:
        yield Kind.POLICY, f"should {_verb(wish)}, and does {_verb(held)}"
        return
    for at in _sorted(wish.endpoints - held.endpoints):
        yield Kind.MISSING, f"does not lead to endpoint {endpoint_text(at)}"
    for at in _sorted(held.endpoints - wish.endpoints):
        yield Kind.EXTRA, f"leads to {endpoint_text(at)}, which is not to be used"
    if wish.fenced is not None and held.fenced is not None and wish.fenced != held.fenced:
        yield Kind.POLICY, "is open to all sources" if wish.fenced else "is closed to some sources, and should be open"
    if wish.endpoints and held.endpoints:
        yield from _of_balancing(wish, held)


def _of_balancing(wish: Held, held: Held) -> Iterator[tuple[Kind, str]]:
    if wish.masquerade is not None and held.masquerade is not None and wish.masquerade != held.masquerade:
        yield Kind.POLICY, "should masquerade strangers" if wish.masquerade else "masquerades strangers, and should not"
    if wish.affinity_s is not None and held.affinity_s is not None and wish.affinity_s != held.affinity_s:
        yield Kind.POLICY, f"keeps clients for {held.affinity_s} s, and should for {wish.affinity_s} s"


def _verb(held: Held) -> str:
    if held.refusal:
        return held.refusal
    return "lead to endpoints" if held.endpoints else "lead nowhere"


def _sorted(endpoints: Iterable[At]) -> list[At]:
    return sorted(endpoints, key=lambda at: (family_of(at[0]), address_number(at[0]), at[1]))
