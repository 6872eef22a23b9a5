"""What differs is told by Service, and nothing else is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings

from kproxy.audit.compare import Difference, Kind, compare, wanted
from kproxy.audit.report import SHOWN, Audit, by_service, lines, plain, summary
from kproxy.audit.standing import Held, Spot, Standing
from kproxy.core.values import Family, Protocol
from tests.properties.strategies import Stage, stages

SPOT = Spot("10.96.0.1", 80, Protocol.TCP)
AT = ("10.64.1.10", 8080)
WISH = Held("shop/cart", frozenset({AT}), "", True, False, 0)


def only(held: Held | None, wish: Held | None = WISH) -> Difference:
    have = Standing({SPOT: held} if held else {})
    (found,) = compare(Family.IPV4, {SPOT: wish} if wish else {}, have)
    return found


@pytest.mark.parametrize(
    ("held", "kind", "what"),
    [
        (None, Kind.MISSING, "is not there"),
        (
            msgspec.structs.replace(WISH, endpoints=frozenset({AT, ("10.64.1.11", 80)})),
            Kind.EXTRA,
            "leads to 10.64.1.11:80",
        ),
        (msgspec.structs.replace(WISH, masquerade=False), Kind.POLICY, "should masquerade strangers"),
        (msgspec.structs.replace(WISH, fenced=True), Kind.POLICY, "is closed to some sources"),
        (msgspec.structs.replace(WISH, affinity_s=60), Kind.POLICY, "keeps clients for 60 s, and should for 0 s"),
        (msgspec.structs.replace(WISH, service="shop/web"), Kind.POLICY, "is held by Service shop/web"),
    ],
)
def test_each_difference_has_its_word(held: Held | None, kind: Kind, what: str) -> None:
    found = only(held)
    assert (found.service, found.kind, found.where) == ("shop/cart", kind, "10.96.0.1:80/TCP")
    assert found.what.startswith(what)


def test_what_nobody_wants_is_extra() -> None:
    found = only(WISH, None)
    assert (found.service, found.kind) == ("shop/cart", Kind.EXTRA)


def test_what_a_mode_does_not_tell_is_not_compared() -> None:
    silent = Held("", frozenset({AT}))
    assert compare(Family.IPV4, {SPOT: WISH}, Standing({SPOT: silent})) == []


@settings(deadline=None, max_examples=40)
@given(stages())
def test_a_plan_is_what_it_wants_and_whatever_is_taken_from_it_is_missed(stage: Stage) -> None:
    want = wanted(stage.plan)
    assert compare(stage.plan.family, want, Standing(want)) == []
    for spot in want:
        less = {other: held for other, held in want.items() if other != spot}
        (found,) = compare(stage.plan.family, want, Standing(less))
        assert (found.where, found.kind, found.service) == (str(spot), Kind.MISSING, want[spot].service)


def many(service: str, count: int, known: str = "") -> list[Difference]:
    return [Difference(service, Family.IPV4, Kind.MISSING, f"NodePort {n}/TCP", "is gone", known) for n in range(count)]


def audit(*differences: Difference) -> Audit:
    return Audit("kube-proxy", "iptables mode", (Family.IPV4,), 99, differences, ("nat KUBE-SERVICES -j X",))


def test_people_see_a_few_of_each_service_and_programs_all() -> None:
    found = audit(*many("shop/cart", SHOWN + 2), *many("base", 1))
    text = [line for _, line in lines(found)]
    assert (
        text[0]
        == "kube-proxy, iptables mode (IPv4): 11 differences in 1 Service and what Services share, of 99 frontends"
    )
    assert "  … and 2 more; -o json has all of them" in text
    assert text[-2:] == ["1 rules were not understood and not compared", "  nat KUBE-SERVICES -j X"]
    services = plain(found)["services"]
    assert isinstance(services, list)
    assert [len(one["differences"]) for one in services] == [SHOWN + 2, 1]


def test_services_come_before_what_they_share() -> None:
    assert list(by_service(audit(*many("base", 1), *many("shop/cart", 1)))) == ["shop/cart", "base"]


def test_what_is_by_design_is_told_and_is_no_fault() -> None:
    found = audit(*many("shop/cart", 1, known="it is so"))
    assert found.is_clean
    assert summary(found) == "0 differences, 1 more by design, of 99 frontends"
    assert not audit(*many("shop/cart", 1)).is_clean
    assert audit().is_clean
