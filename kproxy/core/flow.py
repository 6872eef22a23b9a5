"""A connection's first packet, and the answer a node gives it."""

from __future__ import annotations

import enum

from kproxy.core.values import Protocol, Value


class Verdict(enum.StrEnum):
    """What happens to a first packet; PASS: the proxy leaves it alone."""

    DNAT = "DNAT"
    REJECT = "REJECT"
    DROP = "DROP"
    PASS = "PASS"  # noqa: S105 - a verdict


class Packet(Value, frozen=True):
    """The first packet of a new connection, as it arrives at (or leaves) the node.

    `interface` is the one it came in by; None when the node itself sends it, or
    when it is not known.
    """

    source: str
    destination: str
    port: int
    protocol: Protocol
    interface: str | None = None


class Choice(Value, frozen=True):
    """An endpoint that a packet may be sent to, with what the endpoint then sees as its source."""

    address: str
    port: int
    probability: float
    masquerade: bool


class Answer(Value, frozen=True):
    """What a node does with a packet. `choices` are sorted by address number and port; their probabilities sum to 1."""

    verdict: Verdict
    choices: tuple[Choice, ...] = ()
    accept: bool = False
    """With PASS: a filter rule of ours admits the packet to the node (health-check ports)."""
    egress: bool = False
    """With PASS: the connection leaves the node with its address (pod egress masquerade)."""

    @property
    def masquerade(self) -> bool:
        """Whether whoever answers may see a node address instead of the client's."""
        return self.egress or any(choice.masquerade for choice in self.choices)


class Step(Value, frozen=True):
    """One rule or lookup that a packet met and that decided something."""

    place: str
    """Table and chain, for people: `nat KPROXY-SERVICES`, `ip kproxy dispatch`."""
    rule: str
    """The rule as the backend's own tool prints it, or the element that was found."""
    effect: str
    """What it did, in a few words: `jump to …`, `masquerade`, `DNAT to 10.0.0.1:8080 (1/3)`."""


class Trace(Value, frozen=True):
    """An answer with the way it came about."""

    answer: Answer
    steps: tuple[Step, ...]
