"""ctnetlink messages made by hand, as the kernel lays them out."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from conntrack import layout
from conntrack.entry import Entry, address_bytes
from conntrack.layout import AF_INET, AF_INET6, ICMP, ICMPV6, SCTP, SUBSYSTEM, TCP
from kproxy.core.values import Family
from kproxy.netlink.attributes import attribute, nested, u8, u16, u32, u64
from kproxy.netlink.messages import NLM_F_MULTI, NLMSG_DONE, message, netfilter

FLOW_KIND = SUBSYSTEM << 8 | layout.NEW


def flow_message(entry: Entry, *extra: bytes, kind: int = FLOW_KIND, flags: int = NLM_F_MULTI) -> bytes:
    """The message by which the kernel tells of this entry; `extra` attributes come last."""
    family = AF_INET6 if entry.family is Family.IPV6 else AF_INET
    return message(kind, flags, 7, netfilter(family, *_attributes(entry), *extra))


def done(flags: int = NLM_F_MULTI) -> bytes:
    return message(NLMSG_DONE, flags, 7, struct.pack("=i", 0))


def _attributes(entry: Entry) -> Sequence[bytes]:
    parts = [_tuple(layout.TUPLE_ORIG, entry, "original"), _tuple(layout.TUPLE_REPLY, entry, "reply")]
    if entry.zone:
        parts.append(u16(layout.ZONE, entry.zone))
    parts.append(u32(layout.STATUS, entry.status))
    if entry.timeout_s is not None:
        parts.append(u32(layout.TIMEOUT, entry.timeout_s))
    for kind, counters in ((9, entry.original_counters), (10, entry.reply_counters)):
        if counters is not None:
            parts.append(nested(kind, u64(1, counters.packets), u64(2, counters.bytes)))
    stamps = [u64(kind, at) for kind, at in ((1, entry.start_ns), (2, entry.stop_ns)) if at is not None]
    parts += [nested(layout.TIMESTAMP, *stamps)] if stamps else []
    if entry.state is not None:
        within = {TCP: layout.PROTOINFO_TCP, SCTP: layout.PROTOINFO_SCTP}[entry.protocol]
        parts.append(nested(layout.PROTOINFO, nested(within, u8(1, entry.state), u8(2, 7))))
    if entry.helper:
        parts.append(nested(layout.HELP, attribute(1, entry.helper.encode() + b"\0")))
    parts.append(u32(layout.MARK, entry.mark))
    for kind, number in ((layout.ID, entry.id), (layout.USE, entry.use)):
        if number is not None:
            parts.append(u32(kind, number))
    return parts


def _tuple(kind: int, entry: Entry, direction: str) -> bytes:
    one = getattr(entry, direction)
    v6 = entry.family is Family.IPV6
    ip = nested(
        layout.TUPLE_IP,
        attribute(layout.IP_V6_SRC if v6 else layout.IP_V4_SRC, address_bytes(one.source)),
        attribute(layout.IP_V6_DST if v6 else layout.IP_V4_DST, address_bytes(one.destination)),
    )
    protocol = [u8(layout.PROTO_NUM, entry.protocol)]
    if one.source_port is not None:
        protocol += [u16(layout.PROTO_SRC_PORT, one.source_port), u16(layout.PROTO_DST_PORT, one.destination_port)]
    if one.icmp_type is not None:
        first = {ICMP: layout.PROTO_ICMP_ID, ICMPV6: layout.PROTO_ICMPV6_ID}[entry.protocol]
        protocol += [u16(first, one.icmp_id), u8(first + 1, one.icmp_type), u8(first + 2, one.icmp_code)]
    zone = [u16(layout.TUPLE_ZONE, one.zone)] if one.zone else []
    return nested(kind, ip, nested(layout.TUPLE_PROTO, *protocol), *zone)
