"""What holds for every plan of every cluster."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kproxy.core.claims import Scope, reachable_at
from kproxy.core.decide import decide, index_plan, judge
from kproxy.core.flow import Verdict
from kproxy.core.model import Service
from kproxy.core.plan import Action, Client, NodePlan
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Protocol, address_number, family_of
from tests.properties.strategies import Scene, Stage, histories, packets, scenes, stages

K = TypeVar("K")
V = TypeVar("V")
quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(histories())
def test_planning_what_changed_is_planning_everything(history: list[Scene]) -> None:
    planned = None
    for scene in history:
        planned = scene.plan(planned)
        fresh = scene.plan()
        assert planned == fresh
        assert list(planned.plan.services) == list(fresh.plan.services)


@quick
@given(histories())
def test_what_did_not_change_stays_the_same_object(history: list[Scene]) -> None:
    planned = history[0].plan()
    for scene in history:
        following = scene.plan(planned)
        for key, service in following.plan.services.items():
            before = planned.plan.services.get(key)
            assert service is before or service != before
        assert following.plan is planned.plan or following.plan != planned.plan
        planned = following


@quick
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_objects_does_not_matter(scene: Scene, chance: random.Random) -> None:
    def shuffled(mapping: Mapping[K, V]) -> dict[K, V]:
        return dict(chance.sample(list(mapping.items()), len(mapping)))

    snapshot = Snapshot(
        services=shuffled(scene.snapshot.services),
        slices={key: shuffled(members) for key, members in shuffled(scene.snapshot.slices).items()},
        nodes=shuffled(scene.snapshot.nodes),
        service_cidrs=shuffled(scene.snapshot.service_cidrs),
        complete=scene.snapshot.complete,
    )
    other = Scene(snapshot, scene.settings, scene.host, scene.traits, scene.family)
    assert other.plan().plan == scene.plan().plan
    assert list(other.plan().plan.services) == sorted(scene.plan().plan.services)


@quick
@given(stages())
def test_a_plan_leaves_nothing_to_ask(stage: Stage) -> None:
    plan = stage.plan
    for service in plan.services.values():
        assert service.ports or service.health_check
        for port in service.ports:
            assert port.frontends
            tables = {frontend.kind.is_internal: port.routes(frontend.kind) for frontend in port.frontends}
            for table in (port.internal, port.external):
                assert table[-1].client is Client.ANY
                assert Client.ANY not in {route.client for route in table[:-1]}
                assert plan.pods is not None or Client.POD not in {route.client for route in table}
            taken = {route.action for table in tables.values() for route in table}
            for action in (Action.CLUSTER, Action.LOCAL):
                pool = port.pool(action)
                assert bool(pool) is (action in taken)
                assert list(pool) == sorted(pool, key=lambda one: (address_number(one.address), one.port))
                assert set(pool) <= set(port.serving)
                assert all(family_of(one.address) is plan.family for one in pool)
            assert all(one.is_local for one in port.local)


@quick
@given(scenes())
def test_no_place_has_two_owners_and_every_loss_is_reported(scene: Scene) -> None:
    plan = scene.plan().plan
    places = _places(plan)
    assert len(places) == len(set(places))
    reported = {(conflict.loser, conflict.claim) for conflict in plan.conflicts}
    for service in scene.snapshot.services.values():
        own = _places(NodePlan(plan.family, {key: one for key, one in plan.services.items() if key == service.key}))
        for place in _wanted(service, scene.plan().view.scope):
            assert place in own or (service.key, _text(place)) in reported


def _wanted(service: Service, scope: Scope) -> list[tuple[str, int, Protocol]]:
    at = reachable_at(service, scope)
    every = [(address or "", port.port, port.protocol) for _, address in at for port in service.ports]
    ports = [("", port.node_port, port.protocol) for port in service.ports if at and port.node_port]
    return every + ports


def _text(place: tuple[str, int, Protocol]) -> str:
    address, port, protocol = place
    where = f"[{address}]:" if ":" in address else f"{address}:" if address else "NodePort "
    return f"{where}{port}/{protocol}"


def _places(plan: NodePlan) -> list[tuple[str, int, Protocol]]:
    frontends = [
        (frontend.address or "", frontend.port, port.protocol)
        for service in plan.services.values()
        for port in service.ports
        for frontend in port.frontends
    ]
    checks = [("", one.health_check.port, Protocol.TCP) for one in plan.services.values() if one.health_check]
    return frontends + checks


@quick
@given(st.data(), stages())
def test_every_packet_has_an_answer(data: st.DataObject, stage: Stage) -> None:
    index = index_plan(stage.plan)
    for packet in data.draw(st.lists(packets(stage), min_size=5, max_size=5)):
        answer = judge(index, packet, stage.host).answer
        assert answer == decide(stage.plan, packet, stage.host)
        assert (answer.verdict is Verdict.DNAT) is bool(answer.choices)
        if answer.choices:
            assert sum(choice.probability for choice in answer.choices) == pytest.approx(1)
        assert not answer.accept or answer.verdict is Verdict.PASS
