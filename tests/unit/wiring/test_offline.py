"""Questions answered without a kernel."""

from __future__ import annotations

import pytest

from kproxy.core.flow import Answer, Choice, Packet, Trace, Verdict
from kproxy.core.values import ObjectKey, Protocol
from kproxy.errors import ConfigError
from kproxy.wiring.asked import service_key
from kproxy.wiring.offline import Explained

PACKET = Packet("10.0.0.1", "10.0.0.2", 80, Protocol.TCP)


def third(probability: float = 1 / 3, *, masquerade: bool = False) -> Answer:
    return Answer(Verdict.DNAT, (Choice("10.0.0.3", 80, probability, masquerade),))


@pytest.mark.parametrize(
    ("walked", "agree"),
    [
        (third(), True),
        (third(0.33333333349), True),
        (third(0.3334), False),
        (third(masquerade=True), False),
        (Answer(Verdict.DROP), False),
        (Answer(Verdict.DNAT), False),
        (Answer(Verdict.DNAT, (*third().choices, *third().choices)), False),
    ],
)
def test_rules_and_plan_agree_to_the_precision_of_rules(walked: Answer, agree: bool) -> None:  # noqa: FBT001 - a table
    assert Explained(PACKET, Trace(walked, ()), third()).agree is agree


def test_accept_counts_too() -> None:
    assert not Explained(PACKET, Trace(Answer(Verdict.PASS, accept=True), ()), Answer(Verdict.PASS)).agree


def test_a_service_is_named_by_namespace_and_name() -> None:
    assert service_key("shop/cart") == ObjectKey("shop", "cart")


@pytest.mark.parametrize("text", ["", "cart", "/cart", "shop/", "a/b/c", "/"])
def test_anything_else_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ConfigError, match="write NAMESPACE/NAME"):
        service_key(text)
