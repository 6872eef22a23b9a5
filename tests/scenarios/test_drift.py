"""What others do to our rules, told by events, a clock of the test's own and kernels in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.iptables import BACKEND as IPTABLES
from backends.nftables import BACKEND as NFTABLES
from kproxy.core.document import Change, Document, diff
from kproxy.core.model import Applied
from kproxy.core.schedule import Pace
from kproxy.core.values import Family
from kproxy.core.vigil import BURST, GLANCE_EVERY_S, LOOK_SHARE, REFILL_S, SETTLE_S
from kproxy.errors import ApplyTimeout, ObserveFailed
from kproxy.netlink.notices import Interest, Touch
from kproxy.ports import Outcome
from kproxy.report.drift import Deed, Drift, Noticed
from kproxy.report.news import News, Synced
from kproxy.sync import World, suspected, sync_family
from tests.fakes.kernel import FakeKernel, objects
from tests.fakes.stage import Clock, CountingKernel, Stage, endpoint_slice, service
from tests.properties.strategies import Scene, histories

OURS, THEIRS = 100, 4711
NFT = "nft (process 4711)"


class WatchedKernel(CountingKernel):
    """One whose notifications all come, or, if it is `partial`, none: then it has to be glanced at."""

    partial = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.glances = 0
        self.glance_s = 0.0
        self.blind = False
        self.meanwhile: Callable[[], None] = lambda: None

    def apply(self, change: Change) -> Outcome:
        outcome = super().apply(change)
        once, self.meanwhile = self.meanwhile, lambda: None
        once()
        return outcome

    def interest(self) -> Interest:
        return Interest(Family.IPV4, frozenset({"kproxy"}), is_partial=self.partial)

    def is_own(self, touch: Touch) -> bool:
        return touch.port == OURS

    def glance(self) -> Hashable:
        self.glances += 1
        self._clock.now += self.glance_s
        if self.blind:
            raise ObserveFailed("cannot be read")
        return repr(sorted(objects(self.document).items(), key=repr))


class UntoldKernel(WatchedKernel):
    partial = True


class Ticking:
    """A clock that is never read twice at the same time."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


class Told(list[News]):
    """What the agent tells."""

    def drifts(self) -> list[Drift]:
        return [one.drift for one in self if isinstance(one, Synced) and one.drift]


def standing(kernel: type[WatchedKernel] = WatchedKernel, **changes: Any) -> tuple[Stage, WatchedKernel, Told]:
    told = Told()
    stage = Stage(backend=NFTABLES, kernel=kernel, tell=told.append, pace=Pace(observe_every_s=1e6), **changes)
    stage.begin([service()], [endpoint_slice()])
    watched = stage.kernels[Family.IPV4]
    assert isinstance(watched, WatchedKernel)
    return stage, watched, told


def tamper(kernel: FakeKernel, kind: str = "element") -> None:
    """Take one object of a kind away, as another program would, if there is one left."""
    standing = objects(kernel.document).items()
    victims = [key for key, one in standing if NFTABLES.subject(Family.IPV4, key, one).kind == kind]
    kernel.document = without(kernel.document, set(victims[:1]))


def touch(stage: Stage, port: int = THEIRS, by: str = NFT, *, after_s: float = SETTLE_S) -> None:
    """A notification comes, and its rest has time to come."""
    stage.agent.touch(Touch(Family.IPV4, port, by))
    stage.step()
    stage.step(after_s=after_s)


def test_what_a_notification_tells_of_is_looked_at_at_once_and_put_right() -> None:
    stage, kernel, told = standing()
    wanted = objects(kernel.document)
    tamper(kernel, "chain")
    stage.agent.touch(Touch(Family.IPV4, THEIRS, NFT))
    stage.step()
    assert stage.agent.wait_s() == pytest.approx(SETTLE_S)
    stage.step(after_s=SETTLE_S)
    assert objects(kernel.document) == wanted
    (drift,) = told.drifts()
    assert (drift.counts, drift.noticed, drift.by) == ({("chain", Deed.REMOVED): 1}, Noticed.TOLD, (NFT,))
    (line,) = stage.log("rules were changed by others")
    assert (line["what"], line["by"], line["noticed"]) == ("1 chain removed", NFT, "notification")
    assert line["objects"].startswith("chain ")


def test_only_the_family_that_was_touched_is_looked_at() -> None:
    stage, kernel, _ = standing()
    others = stage.kernels[Family.IPV6].looks
    touch(stage)
    assert (kernel.looks, stage.kernels[Family.IPV6].looks) == (2, others)


def test_our_own_writes_are_not_looked_at() -> None:
    stage, kernel, _ = standing()
    for _ in range(50):
        touch(stage, OURS)
    assert (kernel.looks, stage.agent.wait_s()) == (1, pytest.approx(1e6, rel=1e-3))


def test_a_touch_that_was_none_is_no_drift() -> None:
    stage, kernel, told = standing()
    touch(stage)
    assert kernel.looks == 2
    assert told.drifts() == []
    assert stage.log("rules were changed") == []


def test_lost_notifications_are_a_reason_to_look() -> None:
    stage, kernel, told = standing()
    tamper(kernel)
    touch(stage, port=0, by="")
    (drift,) = told.drifts()
    assert drift.by == ()
    assert stage.log("rules were changed by others")[0]["by"] == "unknown"


def test_a_change_of_ours_that_comes_first_looks_too() -> None:
    """Else it would meet a kernel that is not as remembered."""
    stage, kernel, told = standing()
    tamper(kernel)
    stage.agent.touch(Touch(Family.IPV4, THEIRS, NFT))
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.99")))
    assert [drift.objects for drift in told.drifts()] == [1]
    assert stage.served() == {"10.64.1.99"}


def test_a_fighting_neighbour_is_answered_now_and_then_and_that_is_said() -> None:
    stage, kernel, told = standing()
    began = stage.clock.now
    while stage.clock.now < began + 60:
        tamper(kernel)
        touch(stage, after_s=0.1)
    repairs = len(told.drifts())
    assert BURST < repairs <= BURST + 1 + 60 / REFILL_S
    assert kernel.looks == repairs + 1
    (line, *_) = stage.log("others keep changing our rules")
    assert line["by"] == NFT
    assert len(stage.log("others keep changing our rules")) <= 2


def test_against_a_fighting_neighbour_costly_looks_keep_to_their_share() -> None:
    stage, kernel, _ = standing()
    began = stage.clock.now
    kernel.look_s = 1.0
    while stage.clock.now < began + 600:
        tamper(kernel)
        touch(stage, after_s=0.1)
    assert BURST <= kernel.looks <= BURST + 2 + 600 * LOOK_SHARE


def test_after_a_failure_nothing_is_called_drift() -> None:
    """What stands then is not known, so nobody can be blamed for it."""
    stage, kernel, told = standing()
    kernel.fails = ApplyTimeout("no answer")
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.99")))
    touch(stage)
    stage.step(after_s=1)
    assert told.drifts() == []
    assert stage.served() == {"10.64.1.99"}


def test_what_nobody_tells_of_is_glanced_at() -> None:
    stage, kernel, told = standing(UntoldKernel)
    stage.step()
    looks, wanted = kernel.looks, objects(kernel.document)
    tamper(kernel)
    for _ in range(3):
        wait_s = stage.agent.wait_s()
        assert wait_s is not None
        assert wait_s <= GLANCE_EVERY_S
        stage.step(after_s=wait_s)
    assert objects(kernel.document) == wanted
    assert kernel.looks == looks + 2, "one to find it, one to confirm that nothing came while it was put right"
    assert [drift.noticed for drift in told.drifts()] == [Noticed.GLANCED]


def test_what_comes_while_drift_is_put_right_is_found_by_the_look_that_confirms() -> None:
    stage, kernel, told = standing(UntoldKernel)
    stage.step()
    wanted = objects(kernel.document)
    tamper(kernel)
    kernel.meanwhile = lambda: tamper(kernel, "chain")
    for _ in range(4):
        stage.step(after_s=GLANCE_EVERY_S)
    assert objects(kernel.document) == wanted
    assert [drift.counts for drift in told.drifts()] == [{("element", Deed.REMOVED): 1}, {("chain", Deed.REMOVED): 1}]


def test_what_came_just_before_we_write_is_found() -> None:
    stage, kernel, told = standing(UntoldKernel)
    stage.step()
    tamper(kernel, "chain")
    stage.clock.now += GLANCE_EVERY_S / 2
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.99")))
    assert [(drift.objects, drift.noticed) for drift in told.drifts()] == [(1, Noticed.GLANCED)]
    assert stage.served() == {"10.64.1.99"}


def test_a_tick_of_the_clock_between_two_readings_puts_no_glance_off() -> None:
    stage, kernel, _ = standing(UntoldKernel, clock=Ticking())
    glances = kernel.glances
    stage.step()
    assert kernel.glances == glances + 1


def test_what_we_write_ourselves_is_glanced_at_and_not_looked_at() -> None:
    stage, kernel, told = standing(UntoldKernel)
    for number in range(20):
        stage.hear(Applied(endpoint_slice("cart", f"10.64.1.{number + 10}")))
        stage.step(after_s=0.7)
    assert kernel.looks == 2, "the first sync, and one to confirm it"
    assert kernel.glances >= 20
    assert told.drifts() == []


def test_costly_glances_keep_to_their_share() -> None:
    stage, kernel, _ = standing(UntoldKernel)
    kernel.glance_s = 0.5
    for _ in range(2000):
        stage.step(after_s=0.1)
    assert 2 <= kernel.glances <= 2 + 300 / 25


def test_a_glance_that_fails_is_told_and_tried_again() -> None:
    stage, kernel, told = standing(UntoldKernel)
    kernel.blind = True
    for _ in range(20):
        stage.step(after_s=1)
    assert len(stage.log("source in trouble")) == 1
    kernel.blind = False
    stage.step(after_s=GLANCE_EVERY_S)
    tamper(kernel)
    stage.step(after_s=GLANCE_EVERY_S)
    stage.step(after_s=SETTLE_S)
    assert [drift.noticed for drift in told.drifts()] == [Noticed.GLANCED]


def test_a_kernel_that_cannot_be_watched_is_looked_at_every_now_and_then() -> None:
    told = Told()
    stage = Stage(backend=NFTABLES, tell=told.append)
    stage.begin([service()], [endpoint_slice()])
    assert stage.agent.interests == ()
    stage.agent.touch(Touch(Family.IPV4, THEIRS, NFT))
    stage.step(after_s=1)
    assert stage.kernels[Family.IPV4].looks == 1
    tamper(stage.kernels[Family.IPV4])
    stage.step(after_s=30)
    assert [drift.noticed for drift in told.drifts()] == [Noticed.LOOKED]


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("backend", [NFTABLES, IPTABLES], ids=lambda backend: backend.name)
@given(data=st.data())
def test_drift_is_what_others_did_whatever_we_did_ourselves(backend: Any, data: st.DataObject) -> None:
    """At every step of a cluster's life something is taken away or nothing is; that, and only that, is drift."""
    history: list[Scene] = data.draw(histories(backend.traits))
    kernel, world = FakeKernel(), World()
    for scene in history:
        left = objects(kernel.document) if world.applied is not None else {}
        victims = data.draw(st.sets(st.sampled_from(sorted(left, key=repr)), max_size=3)) if left else set()
        kernel.document = without(kernel.document, victims)
        done = sync_family(suspected(world), scene.snapshot, scene.settings, scene.host, scene.family, backend, kernel)
        assert done.error is None
        assert set(done.drift.added) == victims
        assert not done.drift.changed
        assert not done.drift.removed
        world = done.world
        assert world.compiled is not None
        assert not diff(kernel.document, world.compiled.document)


def without(document: Document, victims: set[Hashable]) -> Document:
    return {
        owner: {key: one for key, one in fragment.items() if key not in victims} for owner, fragment in document.items()
    }
