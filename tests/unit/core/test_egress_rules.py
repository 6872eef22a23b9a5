"""Egress masquerade as iptables-save prints it, for both backends that write chains."""

from __future__ import annotations

import pytest

from kproxy.core.egress_rules import CHAIN, egress_chain, egress_jumps
from kproxy.core.plan import Egress, NodePlan
from kproxy.core.values import Family, Network
from tests.objects import networks

EGRESS = Egress(networks("::ffff:0:0/96", "fd00::/8"))


def planned(pods: tuple[Network, ...] | str | None, egress: Egress | None = EGRESS) -> NodePlan:
    return NodePlan(Family.IPV6, {}, pods=pods, egress=egress)


def test_pods_by_network_may_be_several() -> None:
    assert egress_jumps(planned(networks("fd00:64::/32", "fd00:65::/32")), "-m ipvs ! --ipvs ") == (
        "-s fd00:64::/32 -m conntrack ! --ctstate DNAT -m ipvs ! --ipvs -j KPROXY-EGRESS",
        "-s fd00:65::/32 -m conntrack ! --ctstate DNAT -m ipvs ! --ipvs -j KPROXY-EGRESS",
    )


def test_the_chain_lets_the_node_and_the_exempt_off() -> None:
    assert egress_chain(planned(networks("fd00:64::/32"))) == {
        CHAIN: (
            "-m addrtype --dst-type LOCAL -j RETURN",
            "-d ::ffff:0.0.0.0/96 -j RETURN",
            "-d fd00::/8 -j RETURN",
            "-j MASQUERADE --random-fully",
        )
    }


def test_pods_behind_interfaces_meet_their_neighbours_as_they_are() -> None:
    found = planned("veth+")
    assert egress_jumps(found) == ("-i veth+ -m conntrack ! --ctstate DNAT -j KPROXY-EGRESS",)
    (rules,) = egress_chain(found).values()
    assert isinstance(rules, tuple)
    assert rules[1] == "-o veth+ -j RETURN"


@pytest.mark.parametrize("pods", [None, "veth+"])
def test_nothing_stands_where_pods_keep_their_address(pods: str | None) -> None:
    assert (egress_jumps(planned(pods, None)), egress_chain(planned(pods, None))) == ((), {})
