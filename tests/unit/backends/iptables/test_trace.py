"""The walk over rules: what it says of rules that we do not write ourselves, and how it tells its steps."""

from __future__ import annotations

import pytest

from backends.iptables import BACKEND
from backends.iptables.matches import State, chance, parse_rule
from backends.iptables.trace import trace
from kproxy.core.chains import ChainId
from kproxy.core.document import Document
from kproxy.core.flow import Packet, Verdict
from kproxy.core.host import Host
from kproxy.core.values import Family, Protocol
from tests.unit.backends.iptables.plans import document
from tests.unit.backends.plans import cluster_ip, endpoints, port, service

HOST = Host("node-a", (), frozenset({"192.0.2.11", "127.0.0.1", "::1"}))
PACKET = Packet("10.64.1.7", "10.96.0.10", 80, Protocol.TCP, "cni0")
CART = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.2", "10.64.1.3")))


def test_steps_tell_the_way_and_the_shares() -> None:
    steps = BACKEND.trace(Family.IPV4, document(CART), PACKET, HOST).steps
    assert [step.place for step in steps[:4]] == [
        "nat PREROUTING",
        "nat KPROXY-SERVICES",
        "nat KPROXY-VIPS",
        steps[2].effect.replace("go to", "nat"),
    ]
    shares = [step.effect for step in steps if step.effect.startswith("DNAT")]
    assert shares == [f"DNAT to 10.64.1.{number}:8080 (33.3%)" for number in (1, 2, 3)]


def test_a_masqueraded_packet_is_marked_and_unmarked_on_the_way() -> None:
    outside = Packet("203.0.113.7", "10.96.0.10", 80, Protocol.TCP)
    effects = [step.effect for step in BACKEND.trace(Family.IPV4, document(CART), outside, HOST).steps]
    assert effects.index("mark for masquerading") < effects.index("clear the mark")
    assert effects[-1] != effects[effects.index("clear the mark")]
    assert "masquerade: whoever answers sees an address of this node" in effects


def rules(*content: str) -> Document:
    """A document of one nat chain behind PREROUTING."""
    return {"kernel": {ChainId("nat", "PREROUTING"): ("-j KPROXY-X",), ChainId("nat", "KPROXY-X"): content}}


def test_what_is_not_understood_is_named_and_not_met() -> None:
    found = trace(rules("-m time --timestart 10:00:00 -j ACCEPT"), PACKET, HOST)
    assert found.answer.verdict is Verdict.PASS
    assert found.steps[-1].effect == "not understood, taken as no match: -m time, --timestart 10:00:00"


def test_a_strange_target_is_named_and_passed_over() -> None:
    found = trace(
        rules("-j TPROXY --on-port 1", "-j KPROXY-GONE", "-p tcp -j DNAT --to-destination 10.0.0.1:1"), PACKET, HOST
    )
    assert [step.effect for step in found.steps[1:3]] == [
        "target TPROXY is unknown here; passed over",
        "target KPROXY-GONE is unknown here; passed over",
    ]
    assert found.answer.verdict is Verdict.DNAT


STRANGE = [
    "-s 10.0.0.0/255.0.255.0 -j ACCEPT",
    "-p tcp -m tcp --dport http -j ACCEPT",
    "-p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9",
    "-p tcp -j DNAT --to-destination 10.0.0.1:80-90 --random",
    "-j MARK --set-mark 1",
]


@pytest.mark.parametrize("rule", STRANGE)
def test_what_others_wrote_into_our_chains_is_named_and_passed_over(rule: str) -> None:
    found = trace(rules(rule), PACKET, HOST)
    assert found.answer.verdict is Verdict.PASS
    assert "not understood" in found.steps[1].effect


def test_chance_where_we_have_none_takes_the_likeliest_way() -> None:
    chains: Document = {
        "kernel": {
            ChainId("nat", "PREROUTING"): ("-p tcp -j DNAT --to-destination 10.0.0.1:80",),
            ChainId("nat", "POSTROUTING"): (
                "-m statistic --mode random --probability 0.9 -j MASQUERADE --random-fully",
            ),
        }
    }
    assert trace(chains, PACKET, HOST).answer.masquerade


def test_a_balance_that_was_tampered_with_shows_in_the_shares() -> None:
    half = "-p tcp -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.0.0.1:80"
    found = trace(rules(half, half, "-p tcp -j DNAT --to-destination 10.0.0.2:80"), PACKET, HOST)
    assert {one.address: one.probability for one in found.answer.choices} == {"10.0.0.1": 0.75, "10.0.0.2": 0.25}


def test_return_goes_back_to_whoever_jumped() -> None:
    chains: Document = {
        "kernel": {
            ChainId("nat", "PREROUTING"): ("-j KPROXY-A",),
            ChainId("nat", "KPROXY-A"): ("-j KPROXY-B", "-p tcp -j DNAT --to-destination 10.0.0.1:80"),
            ChainId("nat", "KPROXY-B"): ("-g KPROXY-C", "-j ACCEPT"),
            ChainId("nat", "KPROXY-C"): ("-j RETURN", "-j ACCEPT"),
        }
    }
    assert trace(chains, PACKET, HOST).answer.verdict is Verdict.DNAT


MATCHES = [
    ("-s 10.64.0.0/16", 1),
    ("! -s 10.64.0.0/16", 0),
    ("-d 10.96.0.11/32", 0),
    ("-d fd00::/8", 0),
    ("-i cni0", 1),
    ("-i cni+", 1),
    ("-i eth0", 0),
    ("! -i eth0", 1),
    ("-p udp", 0),
    ("-p tcp -m tcp --dport 80", 1),
    ("-p tcp -m tcp --dport 64:79", 0),
    ("-p tcp -m tcp --dport 64:80", 1),
    ("-m mark --mark 0x4000/0x4000", 0),
    ("-m mark ! --mark 0x4000/0x4000", 1),
    ("-m conntrack --ctstate NEW,DNAT", 1),
    ("-m conntrack ! --ctstate NEW", 0),
    ("-m addrtype --src-type LOCAL", 0),
    ("-m addrtype --dst-type UNICAST", 0),
    ("-m statistic --mode random --probability 0.25000000000", 0.25),
    ("-m statistic --mode nth --every 2 --packet 0", 0),
    ('-m comment --comment "! -s \\" 10.64.0.0/16" -p tcp', 1),
    ("-m recent --set --name X --mask 255.255.255.255 --rsource", 1),
    ("-m recent --rcheck --seconds 9 --reap --name X --mask 255.255.255.255 --rsource", 0),
]


@pytest.mark.parametrize(("text", "likely"), MATCHES)
def test_matches_mean_what_iptables_says(text: str, likely: float) -> None:
    assert chance(parse_rule(f"{text} -j ACCEPT"), State(PACKET), HOST)[0] == likely


def test_a_packet_of_the_node_itself_came_in_by_no_interface() -> None:
    own = Packet("192.0.2.11", "10.96.0.10", 80, Protocol.TCP)
    assert chance(parse_rule("-i + -j ACCEPT"), State(own), HOST)[0] == 0
    assert BACKEND.trace(Family.IPV4, document(CART), own, HOST).steps[0].place == "nat OUTPUT"


@pytest.mark.parametrize("text", ["", "!", "-j", '"', "-A x", "-m", '-m comment --comment "', "\\"])
def test_any_text_is_some_rule(text: str) -> None:
    assert parse_rule(text).text == text
