"""A packet and its answer: the text form of a flow, the JSON of an explanation, and the same for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from kproxy.core.flow import Answer, Packet, Trace, Verdict
from kproxy.core.values import Protocol, canonical_address, family_of
from kproxy.errors import ConfigError

FORM = "FROM,TO:PORT/PROTO, for example 203.0.113.7,198.51.100.1:80/TCP or [fd00::7],[fd00::1]:80/TCP"
_FLOW = re.compile(
    r"(?:\[(?P<from6>[0-9A-Fa-f:.]+)\]|(?P<from>[0-9A-Fa-f:.]+)),(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})/(?P<protocol>[A-Za-z]+)"
)
MAX_PORT = 65535
SHOWN = 120


def parse_flow(text: str, interface: str | None = None) -> Packet:
    """A flow as a packet; ConfigError names the value, what is wrong with it, and the form."""
    match = _FLOW.fullmatch(text.strip())
    if match is None:
        raise _wrong(text, "it is not of the form")
    try:
        source, destination = (
            canonical_address(match["from6"] or match["from"]),
            canonical_address(match["v6"] or match["v4"]),
        )
    except ValueError as error:
        raise _wrong(text, str(error)) from error
    if family_of(source) is not family_of(destination):
        raise _wrong(text, "its two addresses are not of one family")
    port, protocol = int(match["port"]), match["protocol"].upper()
    if not 1 <= port <= MAX_PORT:
        raise _wrong(text, f"port {port} is not in 1 to {MAX_PORT}")
    if protocol not in set(Protocol):
        raise _wrong(text, f"{match['protocol'][:SHOWN]!r} is none of {', '.join(Protocol)}")
    return Packet(source, destination, port, Protocol(protocol), interface)


def _wrong(text: str, reason: str) -> ConfigError:
    return ConfigError(f"--flow {text[:SHOWN]!r}: {reason}; write {FORM}")


def flow_text(packet: Packet) -> str:
    """`from → to:port/protocol`, IPv6 in brackets."""
    return f"{packet.source} → {endpoint_text(packet.destination, packet.port)}/{packet.protocol}"


def endpoint_text(address: str, port: int) -> str:
    """`address:port`, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def flow_json(packet: Packet, trace: Trace) -> Mapping[str, object]:
    """One element of `kproxy explain -o json`."""
    answer = trace.answer
    return {
        "from": packet.source,
        "to": packet.destination,
        "port": packet.port,
        "protocol": packet.protocol.value,
        "verdict": answer.verdict.value,
        "endpoints": [
            {"address": one.address, "port": one.port, "probability": one.probability} for one in answer.choices
        ],
        "masquerade": answer.masquerade,
        "accept": answer.accept,
        "steps": [{"place": step.place, "rule": step.rule, "effect": step.effect} for step in trace.steps],
    }


MEANINGS: Mapping[Verdict, str] = {
    Verdict.DNAT: "balanced over",
    Verdict.REJECT: "refused with an error reply",
    Verdict.DROP: "discarded silently",
    Verdict.PASS: "left alone by the proxy",
}


def verdict_text(answer: Answer) -> str:
    """`DNAT: balanced over 3 endpoints, masqueraded`."""
    text = f"{answer.verdict}: {MEANINGS[answer.verdict]}"
    if answer.verdict is Verdict.DNAT:
        count = len(answer.choices)
        text += f" {count} endpoint{'s' * (count != 1)}, {_masquerade_text(answer)}"
    if answer.egress:
        text += ", leaves masqueraded (the other side sees a node address)"
    return text + (", admitted to the node by a filter rule" if answer.accept else "")


def _masquerade_text(answer: Answer) -> str:
    masqueraded = {one.masquerade for one in answer.choices}
    if masqueraded == {True}:
        return "masqueraded (the endpoint sees a node address)"
    if masqueraded == {False}:
        return "client address kept"
    return "client address kept but for the client itself (hairpin, masqueraded)"


def choice_rows(answer: Answer) -> Iterator[Sequence[str]]:
    """Endpoint, probability, and what the endpoint sees."""
    for one in answer.choices:
        sees = "a node address" if one.masquerade else "the client"
        yield endpoint_text(one.address, one.port), f"{one.probability:.2%}", sees


def step_rows(trace: Trace) -> Iterator[Sequence[str]]:
    """Number, place, rule and effect of each step."""
    for number, step in enumerate(trace.steps, 1):
        yield str(number), step.place, step.rule, step.effect
