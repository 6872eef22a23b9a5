"""Which flows somebody wants to see: a few conditions, each optional, all of which must hold.

The kernel is asked for as little as it can filter itself (`selection`); `Query.wants`
then judges every flow by all conditions.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Mapping

from conntrack.entry import Entry
from conntrack.layout import PROTOCOL_NAMES, STATE_NAMES, Status
from conntrack.requests import Selection
from conntrack.services import Door, Services
from conntrack.stale import Reason, judge_entry
from kproxy.core.values import Family, Network, ObjectKey, Value, canonical_address, network_contains
from kproxy.errors import ConfigError

PROGRESS = ("UNREPLIED", "REPLIED", "ASSURED")
"""What any flow is, whatever its protocol; REPLIED includes ASSURED."""

_STATUS: Mapping[str, tuple[Status, Status]] = {
    "UNREPLIED": (Status(0), Status.SEEN_REPLY),
    "REPLIED": (Status.SEEN_REPLY, Status.SEEN_REPLY),
    "ASSURED": (Status.ASSURED, Status.ASSURED),
}
"""The status and mask that say so to the kernel."""

_NUMBERS: Mapping[str, int] = {name: number for number, name in PROTOCOL_NAMES.items()}
_STATES = frozenset((*PROGRESS, *(name for names in STATE_NAMES.values() for name in names)))
_ENDPOINT = re.compile(
    r"(?P<bare6>[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)"
    r"|(?:\[(?P<in6>[0-9A-Fa-f:.]+)\]|(?P<in4>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?"
)
_MOST_PORTS = 65535
_MOST_PROTOCOLS = 255


class Nat(enum.StrEnum):
    """Which translation a flow has; ANY: one at least."""

    NONE = "none"
    ANY = "any"
    SNAT = "snat"
    DNAT = "dnat"


class Seen(Value, frozen=True):
    """A flow, the Service port it was sent to, and why it is stale; None where not."""

    entry: Entry
    door: Door | None = None
    reason: Reason | None = None


def look(services: Services, entry: Entry) -> Seen:
    """What the Services say of a flow."""
    return Seen(entry, *judge_entry(services, entry))


class Query(Value, frozen=True):
    """The conditions; a default is none."""

    service: ObjectKey | None = None
    endpoint: tuple[str, int | None] | None = None
    """What answers: an address, with a port or without."""
    client: Network | None = None
    protocol: int | None = None
    state: str = ""
    nat: Nat | None = None
    stale: bool = False

    def selection(self, family: Family | None = None) -> Selection:
        """What the kernel can do of it."""
        single = self.client is not None and self.client.prefixlen == self.client.max_prefixlen
        status, mask = _STATUS.get(self.state, (Status(0), Status(0)))
        return Selection(
            family=family if self.client is None else Family(self.client.version),
            protocol=self.protocol,
            source=str(self.client.network_address) if single and self.client else None,
            status=status,
            status_mask=mask,
        )

    def wants(self, seen: Seen) -> bool:
        """Whether all conditions hold for a flow."""
        entry = seen.entry
        return (
            (self.service is None or (seen.door is not None and seen.door.service == self.service))
            and (self.endpoint is None or _answers(entry, *self.endpoint))
            and (self.client is None or network_contains(self.client, entry.original.source))
            and (self.protocol is None or entry.protocol == self.protocol)
            and (not self.state or _is_in(entry, self.state))
            and (self.nat is None or _has(entry, self.nat))
            and not (self.stale and seen.reason is None)
        )


EVERYTHING = Query()


def _answers(entry: Entry, address: str, port: int | None) -> bool:
    return entry.reply.source == address and (port is None or entry.reply.source_port == port)


def _is_in(entry: Entry, state: str) -> bool:
    if state in PROGRESS:
        assured = bool(entry.status & Status.ASSURED)
        return {"UNREPLIED": not entry.replied, "REPLIED": entry.replied, "ASSURED": assured}[state]
    return entry.state_name == state


def _has(entry: Entry, nat: Nat) -> bool:
    return {
        Nat.NONE: not (entry.dnat or entry.snat),
        Nat.ANY: entry.dnat or entry.snat,
        Nat.SNAT: entry.snat,
        Nat.DNAT: entry.dnat,
    }[nat]


def protocol_of(text: str) -> int:
    """A protocol by name or number; ConfigError if there is none such."""
    number = _NUMBERS.get(text.lower(), int(text) if text.isascii() and text.isdecimal() else -1)
    if not 0 <= number <= _MOST_PROTOCOLS:
        raise ConfigError(f"--protocol {text[:80]!r}: write one of {', '.join(_NUMBERS)}, or a number from 0 to 255")
    return number


def state_of(text: str) -> str:
    """A state in capitals; ConfigError if no protocol has it."""
    state = text.upper()
    if state not in _STATES:
        raise ConfigError(f"--state {text[:80]!r}: write one of {', '.join(sorted(_STATES))}")
    return state


def client_of(text: str) -> Network:
    """An address or a network; ConfigError if it is neither."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(f"--client {text[:80]!r}: write an address or a network, such as 10.244.0.0/24") from error


def endpoint_of(text: str) -> tuple[str, int | None]:
    """An address, with a port or without (IPv6 with a port in brackets); ConfigError if it is neither."""
    match = _ENDPOINT.fullmatch(text)
    try:
        canonical = canonical_address((match["bare6"] or match["in6"] or match["in4"]) if match else text)
    except ValueError as error:
        raise ConfigError(f"--endpoint {text[:80]!r}: write 10.244.0.7, 10.244.0.7:8080 or [fd00::7]:8080") from error
    number = int(match["port"]) if match and match["port"] else None
    if number is not None and not 0 < number <= _MOST_PORTS:
        raise ConfigError(f"--endpoint {text[:80]!r}: the port must be from 1 to 65535")
    return canonical, number
