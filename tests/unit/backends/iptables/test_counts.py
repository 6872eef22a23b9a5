"""Packets by rule out of a listing, and the counters made of them."""

from __future__ import annotations

import pytest

from backends.iptables.counts import INVALID_DROPPED, LOOPBACK_ACCEPTED, counts, packets
from backends.iptables.names import FORWARD, SERVICES
from kproxy.core.values import Family

# As iptables v1.8.9 (nf_tables) prints them.
FORWARDED = """\
-N KPROXY-FORWARD
-A KPROXY-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -c 9 900 -j ACCEPT
-A KPROXY-FORWARD -m conntrack --ctstate INVALID -c 3 120 -j DROP
-A KPROXY-FORWARD -m mark --mark 0x4000/0x4000 -c 0 0 -j ACCEPT
"""
SERVED = """\
-N KPROXY-SERVICES
-A KPROXY-SERVICES -c 12 720 -j KPROXY-VIPS
-A KPROXY-SERVICES -d 127.0.0.0/8 -c 7 420 -j KPROXY-NODEPORTS
-A KPROXY-SERVICES -d 127.0.0.0/8 -c 2 120 -j RETURN
"""


def test_invalid_packets_and_what_did_not_return_from_the_node_ports() -> None:
    assert counts(Family.IPV4, {FORWARD: FORWARDED, SERVICES: SERVED}) == {INVALID_DROPPED: 3, LOOPBACK_ACCEPTED: 5}
    assert counts(Family.IPV6, {FORWARD: FORWARDED}) == {INVALID_DROPPED: 3}


def test_rules_that_the_configuration_leaves_out_count_nothing() -> None:
    assert counts(Family.IPV4, {FORWARD: "-N KPROXY-FORWARD\n", SERVICES: ""}) == {
        INVALID_DROPPED: 0,
        LOOPBACK_ACCEPTED: 0,
    }


@pytest.mark.parametrize(
    "line", ["", "-A", "-A X -c", "-A X -c 1", "-A X -c a b -j Y", "-c 1 2 -A X", "no rule -c 1 2"]
)
def test_a_line_that_is_no_counted_rule_is_passed_over(line: str) -> None:
    assert packets(line) == {}
