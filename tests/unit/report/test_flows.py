"""Flows as text, and answers for programs and for people."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.flow import Answer, Choice, Packet, Step, Trace, Verdict
from kproxy.core.values import Protocol, family_of
from kproxy.errors import ConfigError
from kproxy.report.flows import choice_rows, flow_json, flow_text, parse_flow, step_rows, verdict_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.7,198.51.100.1:80/TCP", Packet("203.0.113.7", "198.51.100.1", 80, Protocol.TCP)),
        ("[FD00::7],[fd00:0::1]:53/udp", Packet("fd00::7", "fd00::1", 53, Protocol.UDP)),
        ("fd00::7,[fd00::1]:53/UDP", Packet("fd00::7", "fd00::1", 53, Protocol.UDP)),
        (" 127.0.0.1,127.0.0.1:65535/sctp ", Packet("127.0.0.1", "127.0.0.1", 65535, Protocol.SCTP)),
    ],
)
def test_a_flow_is_read(text: str, expected: Packet) -> None:
    assert parse_flow(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not of the form"),
        ("10.0.0.1:80/TCP", "not of the form"),
        ("10.0.0.1,10.0.0.2:80", "not of the form"),
        ("fd00::7,fd00::1:53/UDP", "not of the form"),
        ("[fd00::7,fd00::1]:53/UDP", "not of the form"),
        ("10.0.0.1,10.0.0.2:80/ICMP", "'ICMP' is none of TCP, UDP, SCTP"),
        ("10.0.0.1,10.0.0.2:0/TCP", "port 0 is not in 1 to 65535"),
        ("10.0.0.1,10.0.0.2:70000/TCP", "port 70000 is not in 1 to 65535"),
        ("10.0.0.256,10.0.0.2:80/TCP", "10.0.0.256"),
        ("10.0.0.1,[fd00::1]:80/TCP", "not of one family"),
        ("10.0.0.1,shop.example:80/TCP", "not of the form"),
    ],
)
def test_what_is_no_flow_is_said_with_value_reason_and_form(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_flow(text)
    assert repr(text) in str(caught.value)
    assert reason in str(caught.value)
    assert "FROM,TO:PORT/PROTO" in str(caught.value)


@settings(deadline=None, max_examples=150)
@given(
    addresses=st.ip_addresses(v=4).flatmap(lambda one: st.tuples(st.just(one), st.ip_addresses(v=4)))
    | st.ip_addresses(v=6).flatmap(lambda one: st.tuples(st.just(one), st.ip_addresses(v=6))),
    port=st.integers(1, 65535),
    protocol=st.sampled_from(Protocol),
)
def test_every_packet_can_be_written_as_a_flow(addresses: tuple[object, object], port: int, protocol: Protocol) -> None:
    source, destination = map(str, addresses)
    target = f"[{destination}]" if family_of(destination) == 6 else destination
    packet = parse_flow(f"{source},{target}:{port}/{protocol.lower()}", "eth0")
    assert packet == Packet(source, destination, port, protocol, "eth0")


@settings(deadline=None, max_examples=200)
@given(text=st.text(alphabet="0123456789abcdef.:[],/TCPUDSicmp \x00é", max_size=50))
def test_any_text_is_a_flow_or_a_config_error(text: str) -> None:
    try:
        parse_flow(text)
    except ConfigError as error:
        assert "--flow" in str(error)  # noqa: PT017 - either outcome is right


PACKET = Packet("10.64.1.10", "fd00::1", 80, Protocol.TCP)
HAIRPIN = Answer(Verdict.DNAT, (Choice("10.64.1.10", 8080, 0.5, True), Choice("10.64.1.11", 8080, 0.5, False)))


def test_the_json_form_has_exactly_the_promised_keys() -> None:
    trace = Trace(HAIRPIN, (Step("nat KPROXY-SERVICES", "-d 10.96.0.10/32 …", "jump"),))
    assert flow_json(PACKET, trace) == {
        "from": "10.64.1.10",
        "to": "fd00::1",
        "port": 80,
        "protocol": "TCP",
        "verdict": "DNAT",
        "endpoints": [
            {"address": "10.64.1.10", "port": 8080, "probability": 0.5},
            {"address": "10.64.1.11", "port": 8080, "probability": 0.5},
        ],
        "masquerade": True,
        "accept": False,
        "steps": [{"place": "nat KPROXY-SERVICES", "rule": "-d 10.96.0.10/32 …", "effect": "jump"}],
    }


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            HAIRPIN,
            "DNAT: balanced over 2 endpoints, client address kept but for the client itself (hairpin, masqueraded)",
        ),
        (Answer(Verdict.DNAT, (Choice("a", 1, 1.0, False),)), "DNAT: balanced over 1 endpoint, client address kept"),
        (
            Answer(Verdict.DNAT, (Choice("a", 1, 1.0, True),)),
            "DNAT: balanced over 1 endpoint, masqueraded (the endpoint sees a node address)",
        ),
        (Answer(Verdict.REJECT), "REJECT: refused with an error reply"),
        (Answer(Verdict.DROP), "DROP: discarded silently"),
        (Answer(Verdict.PASS), "PASS: left alone by the proxy"),
        (
            Answer(Verdict.PASS, egress=True),
            "PASS: left alone by the proxy, leaves masqueraded (the other side sees a node address)",
        ),
        (Answer(Verdict.PASS, accept=True), "PASS: left alone by the proxy, admitted to the node by a filter rule"),
    ],
)
def test_a_verdict_is_a_sentence(answer: Answer, text: str) -> None:
    assert verdict_text(answer) == text


def test_rows_for_people() -> None:
    assert flow_text(PACKET) == "10.64.1.10 → [fd00::1]:80/TCP"
    assert list(choice_rows(HAIRPIN)) == [
        ("10.64.1.10:8080", "50.00%", "a node address"),
        ("10.64.1.11:8080", "50.00%", "the client"),
    ]
    assert list(step_rows(Trace(HAIRPIN, (Step("a", "b", "c"),)))) == [("1", "a", "b", "c")]
