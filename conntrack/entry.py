"""A flow as a typed value: what the kernel's table says of one connection.

Made of a row of `FIELDS` by `entry_of`. Where the kernel keeps no accounting or
timestamps, or a protocol has no ports or states, the field is None.
"""

from __future__ import annotations

import functools
import ipaddress

from conntrack.layout import AF_INET, AF_INET6, Status, protocol_name, state_name
from conntrack.wire import Row
from kproxy.core.values import Family, Value

FIELDS = (
    "family", "protocol", "state", "status", "timeout_s", "mark", "zone",
    "original_source", "original_destination", "original_source_port", "original_destination_port",
    "original_icmp_type", "original_icmp_code", "original_icmp_id", "original_zone",
    "reply_source", "reply_destination", "reply_source_port", "reply_destination_port",
    "reply_icmp_type", "reply_icmp_code", "reply_icmp_id", "reply_zone",
    "original_packets", "original_bytes", "reply_packets", "reply_bytes",
    "start_ns", "stop_ns", "helper", "use", "id",
)  # fmt: skip
"""What a Reader must be asked for to make entries."""

_IPV4_LENGTH = 4
_REMEMBERED = 16384
"""So many addresses, at a quarter of a kilobyte each."""
_FAMILIES = {AF_INET: Family.IPV4, AF_INET6: Family.IPV6}


class Tuple(Value, frozen=True):
    """One direction of a flow, as its packets carry it. Ports, ICMP type, code and id are None where there are none."""

    source: str
    destination: str
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int | None = None
    zone: int | None = None
    """A zone of this direction only; see `Entry.zone`."""


class Counters(Value, frozen=True):
    """What was counted in one direction (sysctl nf_conntrack_acct)."""

    packets: int
    bytes: int


class Entry(Value, frozen=True):
    """A flow. `original` is the direction of the first packet, `reply` what answers look like on the wire."""

    family: Family
    protocol: int
    """IANA's number: 6 TCP, 17 UDP, 132 SCTP, …."""
    original: Tuple
    reply: Tuple
    state: int | None = None
    """The protocol's own state; see `state_name`."""
    status: Status = Status(0)
    timeout_s: int | None = None
    """Seconds until it expires; None in the event of its end."""
    mark: int = 0
    zone: int = 0
    original_counters: Counters | None = None
    reply_counters: Counters | None = None
    start_ns: int | None = None
    """Nanoseconds since 1970 (sysctl nf_conntrack_timestamp)."""
    stop_ns: int | None = None
    helper: str = ""
    use: int | None = None
    id: int | None = None

    @property
    def protocol_name(self) -> str:
        """`tcp`, as conntrack-tools writes it."""
        return protocol_name(self.protocol)

    @property
    def state_name(self) -> str:
        """`ESTABLISHED`; empty where the protocol has no states."""
        return state_name(self.protocol, self.state)

    @property
    def replied(self) -> bool:
        """Whether any answer was seen."""
        return bool(self.status & Status.SEEN_REPLY)

    @property
    def in_zone(self) -> bool:
        """Whether it is tracked in a conntrack zone, in either direction: none that kproxy's rules have to do with."""
        return bool(self.zone or self.original.zone or self.reply.zone)

    @property
    def snat(self) -> bool:
        """Whether answers go to another address or port than the first packet came from."""
        return (self.original.source, self.original.source_port) != (
            self.reply.destination,
            self.reply.destination_port,
        )

    @property
    def dnat(self) -> bool:
        """Whether answers come from another address or port than the first packet went to."""
        return (self.original.destination, self.original.destination_port) != (
            self.reply.source,
            self.reply.source_port,
        )


def entry_of(row: Row) -> Entry:
    """The entry of a row of `FIELDS`, in that order."""
    (
        family, protocol, state, status, timeout_s, mark, zone,
        *tuples,
        packets, octets, reply_packets, reply_octets, start_ns, stop_ns, helper, use, identity,
    ) = row  # fmt: skip
    return Entry(
        _FAMILIES[family],
        protocol,
        Tuple(address_text(tuples[0]), address_text(tuples[1]), *tuples[2:8]),
        Tuple(address_text(tuples[8]), address_text(tuples[9]), *tuples[10:]),
        state,
        _status(status or 0),
        timeout_s,
        mark or 0,
        zone or 0,
        None if packets is None else Counters(packets, octets),
        None if reply_packets is None else Counters(reply_packets, reply_octets),
        start_ns,
        stop_ns,
        helper.rstrip(b"\0").decode(errors="replace") if helper else "",
        use,
        identity,
    )


_status = functools.lru_cache(maxsize=4096)(Status)


@functools.lru_cache(maxsize=_REMEMBERED)
def address_text(packed: bytes) -> str:
    """The canonical text of 4 or 16 bytes in network order."""
    if len(packed) == _IPV4_LENGTH:
        return "{}.{}.{}.{}".format(*packed)
    return str(ipaddress.IPv6Address(packed))


def packed(text: str) -> bytes:
    """4 or 16 bytes in network order; ValueError if the text is no address."""
    return ipaddress.ip_address(text).packed


address_bytes = functools.lru_cache(maxsize=_REMEMBERED)(packed)
"""`packed` for what comes again soon, as addresses of flows do."""
