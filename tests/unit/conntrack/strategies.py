"""Random flows of every protocol."""

from __future__ import annotations

from hypothesis import strategies as st

from conntrack.entry import Counters, Entry, Tuple
from conntrack.layout import ICMP, ICMPV6, SCTP, STATE_NAMES, TCP, UDP, Status
from kproxy.core.values import Family, canonical_address

PORTS = st.integers(0, 65535)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
ZONES = st.one_of(st.none(), st.integers(1, 65535))
OTHER_PROTOCOL = 47
NO_PORTS = 50


def addresses(family: Family) -> st.SearchStrategy[str]:
    return st.ip_addresses(v=family.value).map(str).map(canonical_address)


@st.composite
def tuples(draw: st.DrawFn, family: Family, protocol: int) -> Tuple:
    source, destination = draw(addresses(family)), draw(addresses(family))
    zone = draw(ZONES)
    if protocol in (ICMP, ICMPV6):
        octets = st.integers(0, 255)
        return Tuple(source, destination, None, None, draw(octets), draw(octets), draw(PORTS), zone)
    if protocol == NO_PORTS:
        return Tuple(source, destination, zone=zone)
    return Tuple(source, destination, draw(PORTS), draw(PORTS), zone=zone)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    family = draw(st.sampled_from(Family))
    ping = ICMP if family is Family.IPV4 else ICMPV6
    protocol = draw(st.sampled_from([TCP, UDP, SCTP, ping, OTHER_PROTOCOL, NO_PORTS]))
    states = STATE_NAMES.get(protocol)
    counted = draw(st.booleans())
    counters = st.builds(Counters, U64, U64) if counted else st.none()
    return Entry(
        family,
        protocol,
        draw(tuples(family, protocol)),
        draw(tuples(family, protocol)),
        draw(st.integers(0, len(states) - 1)) if states else None,
        Status(draw(st.integers(0, 2**16 - 1))),
        draw(st.one_of(st.none(), U32)),
        draw(U32),
        draw(st.sampled_from([0, 0, 5])),
        draw(counters),
        draw(counters),
        draw(st.one_of(st.none(), U64)),
        None,
        draw(st.sampled_from(["", "", "ftp", "sip-5060"])),
        draw(st.one_of(st.none(), U32)),
        draw(U32),
    )
