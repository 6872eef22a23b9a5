"""What an agent tells while it works, and how it takes over another configuration."""

from __future__ import annotations

import ipaddress

import pytest

from kproxy.core.host import Settings
from kproxy.core.model import Applied, Kind, Replaced
from kproxy.core.schedule import Pace
from kproxy.core.values import Family
from kproxy.errors import ApplyTimeout, ParseError
from kproxy.report.drift import Deed, Drift, Noticed
from kproxy.report.news import Heard, News, Synced, Troubled
from tests.fakes.stage import Stage, endpoint_slice, node, service

WALL = 5000.0


class Ear:
    """Remembers what is told."""

    def __init__(self) -> None:
        self.news: list[News] = []

    def __call__(self, news: News) -> None:
        self.news.append(news)

    def synced(self, family: Family = Family.IPV4) -> list[Synced]:
        return [one for one in self.news if isinstance(one, Synced) and one.family is family]


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def stage(ear: Ear) -> Stage:
    standing = Stage(tell=ear, wall=lambda: WALL)
    standing.begin([service()], [endpoint_slice()])
    return standing


def test_what_was_heard_is_told_before_what_was_done(stage: Stage, ear: Ear) -> None:
    first, *rest = ear.news
    assert first == Heard(WALL, tuple(Family), services=1, endpoints=1)
    assert [type(one) for one in rest] == [Synced, Synced]
    assert [one.observed for one in ear.synced()] == [True]
    assert set(ear.synced()[0].stages) == {"plan", "compile", "observe", "diff", "apply"}
    del stage


def test_a_change_is_told_with_its_age_and_its_trigger(stage: Stage, ear: Ear) -> None:
    stage.agent.put([Applied(endpoint_slice("cart", "10.64.1.99"), triggered_at=WALL - 2)])
    stage.agent.listen(0)
    stage.clock.now += 0.5
    stage.agent.sync_due()
    told = ear.synced()[-1]
    assert (told.observed, told.success, told.drift) == (False, True, Drift())
    assert (told.waited_s, told.programming_s) == (0.5, (2.0,))
    assert ear.synced(Family.IPV6)[-1].programming_s == ()


def test_a_trigger_is_kept_until_it_is_in_force_and_told_once(stage: Stage, ear: Ear) -> None:
    stage.kernels[Family.IPV4].fails = ApplyTimeout("silence")
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.99"), triggered_at=WALL - 2))
    assert isinstance(ear.synced()[-1].error, ApplyTimeout)
    stage.step(after_s=1)
    assert ear.synced()[-1].programming_s == (2.0,)
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.98")))
    assert ear.synced()[-1].programming_s == ()


def test_drift_is_told(stage: Stage, ear: Ear) -> None:
    stage.kernels[Family.IPV4].document = {}
    stage.step(after_s=31)
    told = ear.synced()[-1]
    assert (told.observed, told.drift.objects, told.drift.noticed) == (True, len(told.change.added), Noticed.LOOKED)
    assert {deed for _, deed in told.drift.counts} == {Deed.REMOVED}


def test_a_look_that_finds_all_as_it_was_is_no_drift(stage: Stage, ear: Ear) -> None:
    stage.step(after_s=31)
    assert [(one.observed, one.drift) for one in ear.synced()] == [(True, Drift()), (True, Drift())]


def test_trouble_is_told(stage: Stage, ear: Ear) -> None:
    error = ParseError("Service shop/cart", "spec.ports", "is required")
    stage.agent.fail(error)
    stage.step()
    assert ear.news[-1] == Troubled(error)


def test_another_configuration_holds_from_the_next_pass_on(stage: Stage) -> None:
    settings = Settings(cluster_cidrs=(ipaddress.IPv4Network("10.64.0.0/16"),))
    stage.agent.configure(settings, Pace(min_gap_s=2.0), ("192.0.2.12",))
    stage.step()
    stage.step(after_s=2.0)  # its gap holds at once
    planned = stage.agent.sides[Family.IPV4].world.planned
    assert planned is not None
    assert planned.plan.pods == settings.cluster_cidrs
    assert stage.agent.host.primary == ("192.0.2.12",)
    assert {side.pace.min_gap_s for side in stage.agent.sides.values()} == {2.0}


def test_the_same_configuration_is_no_change(stage: Stage, ear: Ear) -> None:
    before = len(stage.kernels[Family.IPV4].changes)
    stage.agent.configure(stage.agent.setup.settings, stage.agent.setup.pace, ())
    stage.step()
    assert len(stage.kernels[Family.IPV4].changes) == before
    assert not ear.synced()[-1].change


def test_it_gives_signs_of_life_though_nothing_happens() -> None:
    beats: list[int] = []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            standing.agent.stop()

    standing = Stage(beat=beat, beat_s=0.01)
    standing.agent.run()
    assert len(beats) >= 3


def test_a_message_waits_visibly_until_it_is_heard() -> None:
    standing = Stage()
    assert standing.agent.state.unheard_since is None
    standing.agent.put([Replaced(Kind.NODE, (node(),))])
    standing.clock.now += 5
    assert standing.agent.state.unheard_since == standing.clock.now - 5
    standing.step()
    assert standing.agent.state.unheard_since is None
