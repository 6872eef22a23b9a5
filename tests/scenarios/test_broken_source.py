"""An agent that starts with a part of its source unreadable takes nothing away that stands, and says so."""

from __future__ import annotations

import pytest

from kproxy.core.model import Flaws, Kind, Node, Replaced
from kproxy.core.values import Family
from kproxy.core.waiting import Waiting
from kproxy.errors import ConfigError, UnreadableFile
from kproxy.wiring.views import health_of
from tests.fakes.stage import Stage, endpoint_slice, node, service

FAULT = "web.yaml:5: there is no ']'"
BROKEN = Flaws((FAULT,), (FAULT,))
WHOLE = (
    Replaced(Kind.SERVICE, (service(),)),
    Replaced(Kind.ENDPOINT_SLICE, (endpoint_slice("cart", "10.64.1.10"),)),
    Replaced(Kind.NODE, (node(),)),
)
REST = (Replaced(Kind.SERVICE, ()), Replaced(Kind.ENDPOINT_SLICE, ()), Replaced(Kind.NODE, (node(),)))


def restarted(*, once: bool = False) -> Stage:
    """A new agent on the kernel of one that has served the cart."""
    before, after = Stage(), Stage(once=once)
    before.hear(*WHOLE)
    for family in Family:
        after.kernels[family].document = before.kernels[family].document
    assert after.served() == {"10.64.1.10"}
    return after


def test_rules_of_before_stay_until_the_source_is_whole() -> None:
    stage = restarted()
    stage.hear(*REST, BROKEN)
    assert stage.served() == {"10.64.1.10"}
    side = stage.agent.state.sides[Family.IPV4]
    assert side.waiting == Waiting((FAULT,))
    health = health_of(stage.agent.state, needs_node=False)
    assert (health.ready, health.healthy) == (False, True)
    (line, _) = stage.log("nothing is programmed")
    assert line["reason"] == f"the rules of before stay in force until this is mended: {FAULT}"
    stage.step(stage.agent.setup.pace.observe_every_s)
    assert stage.served() == {"10.64.1.10"}
    stage.hear(*REST, Flaws())
    assert stage.served() == set()
    assert health_of(stage.agent.state, needs_node=False).ready
    assert stage.agent.state.sides[Family.IPV4].waiting is None
    assert stage.log("synced")


def test_a_kernel_without_our_rules_gets_what_can_be_read() -> None:
    stage = Stage()
    stage.hear(*WHOLE, BROKEN)
    assert stage.served() == {"10.64.1.10"}
    assert health_of(stage.agent.state, needs_node=False).ready
    assert [line["error"] for line in stage.log("source in trouble, what it hides is not known")] == [FAULT]
    stage.hear(*REST)
    assert stage.served() == set()


def test_a_file_that_breaks_later_holds_nothing_back() -> None:
    stage = restarted()
    stage.hear(*WHOLE)
    stage.agent.fail(UnreadableFile(FAULT))
    stage.hear(Replaced(Kind.SERVICE, ()), Flaws((FAULT,)))
    assert stage.served() == set()
    assert [line["error"] for line in stage.log("source in trouble")] == [FAULT]
    assert stage.log("source in trouble")[0]["event"].endswith("what is known stays in force")
    assert stage.agent.state.flawed_at is not None
    stage.hear(Flaws())
    assert stage.agent.state.flawed_at is None
    assert stage.log("source can be read again")


@pytest.mark.parametrize(
    ("stands", "words"), [(True, "nothing was programmed"), (False, "what can be read is in force")]
)
def test_a_single_sync_ends_with_the_fault(*, stands: bool, words: str) -> None:
    stage = restarted(once=True) if stands else Stage(once=True)
    stage.agent.put((*(REST if stands else WHOLE), BROKEN))
    with pytest.raises(ConfigError, match=words) as raised:
        stage.agent.run()
    assert FAULT in str(raised.value)
    assert raised.value.exit_code == 2
    assert stage.served() == {"10.64.1.10"}


def test_a_node_name_that_no_node_has_is_told_once() -> None:
    stage = Stage()
    stage.hear(Replaced(Kind.NODE, ()))
    assert not stage.log("node unknown")
    for zone in ("zone-1", "zone-2"):
        stage.hear(Replaced(Kind.NODE, (Node("node-b", (), (), zone),)))
    (line,) = stage.log("node unknown")
    assert line["remark"].startswith("no Node object is named node-a, so no endpoint counts as local")
    assert line["remark"].endswith("takes one of node-b")
