"""What a proxy's rules say of each frontend, in words that every mode of kube-proxy can be brought to.

Rules kept: a reader takes what it knows and counts what it does not, and never guesses; what a mode does not tell is
None, and is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kproxy.core.values import Protocol, Value


class Spot(NamedTuple):
    """Where a frontend is: an address (empty for a NodePort), a port and a protocol."""

    address: str
    port: int
    protocol: Protocol

    def __str__(self) -> str:
        if not self.address:
            return f"NodePort {self.port}/{self.protocol}"
        return f"{endpoint_text((self.address, self.port))}/{self.protocol}"


At = tuple[str, int]
"""Where an endpoint listens."""


def endpoint_text(at: At) -> str:
    """`10.64.1.10:8080`, `[fd00::1]:8080`."""
    address, port = at
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Held(Value, frozen=True):
    """What a stranger (no pod, not this node) meets at a frontend."""

    service: str
    """`namespace/name`; empty when the rules do not say it."""
    endpoints: frozenset[At] = frozenset()
    refusal: str = ""
    """`REJECT` or `DROP` where no endpoint is reached; empty otherwise."""
    masquerade: bool | None = None
    fenced: bool | None = None
    """Whether source ranges are looked at."""
    affinity_s: int | None = None


class Standing(Value, frozen=True):
    """All frontends of one family."""

    frontends: Mapping[Spot, Held]
    unread: tuple[str, ...] = ()
    """Rules or objects of the proxy's that were not understood, as its tool prints them."""


def merged(one: Held, other: Held) -> Held:
    """What two rules say of the same frontend: endpoints of both, and what only one of them knows."""
    return Held(
        one.service or other.service,
        one.endpoints | other.endpoints,
        one.refusal or other.refusal,
        one.masquerade if other.masquerade is None else other.masquerade or bool(one.masquerade),
        one.fenced if other.fenced is None else other.fenced or bool(one.fenced),
        one.affinity_s if other.affinity_s is None else other.affinity_s,
    )
