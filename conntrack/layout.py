"""The numbers of ctnetlink, as tables: where each field of a flow stands, and what its values are called.

Sources: include/uapi/linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h,
nf_conntrack_tcp.h, nf_conntrack_sctp.h. `FIELDS` is the one place that ties a
field's name to attribute types; `wire` reads nothing that is not in it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

SUBSYSTEM = 1
"""NFNL_SUBSYS_CTNETLINK."""

NEW, GET, DELETE, GET_STATS_CPU, GET_STATS = 0, 1, 2, 4, 5
"""IPCTNL_MSG_CT_*: the message within the subsystem."""

GROUP_NEW, GROUP_UPDATE, GROUP_DESTROY = 1, 2, 3
"""NFNLGRP_CONNTRACK_*: multicast groups of events."""

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10

TUPLE_ORIG, TUPLE_REPLY, STATUS, PROTOINFO, HELP = 1, 2, 3, 4, 5
TIMEOUT, MARK, COUNTERS_ORIG, COUNTERS_REPLY, USE, ID = 7, 8, 9, 10, 11, 12
ZONE, TIMESTAMP, MARK_MASK, FILTER, STATUS_MASK = 18, 20, 21, 25, 26
"""CTA_*: attributes of a flow, and of a request."""

TUPLE_IP, TUPLE_PROTO, TUPLE_ZONE = 1, 2, 3
IP_V4_SRC, IP_V4_DST, IP_V6_SRC, IP_V6_DST = 1, 2, 3, 4
PROTO_NUM, PROTO_SRC_PORT, PROTO_DST_PORT = 1, 2, 3
PROTO_ICMP_ID, PROTO_ICMP_TYPE, PROTO_ICMP_CODE = 4, 5, 6
PROTO_ICMPV6_ID, PROTO_ICMPV6_TYPE, PROTO_ICMPV6_CODE = 7, 8, 9
PROTOINFO_TCP, PROTOINFO_SCTP = 1, 3

Path = tuple[int, ...]
"""Attribute types from the outermost to the innermost."""


def _tuple_fields(prefix: str, kind: int) -> dict[str, tuple[Path, ...]]:
    address, protocol = (kind, TUPLE_IP), (kind, TUPLE_PROTO)
    return {
        f"{prefix}_source": ((*address, IP_V4_SRC), (*address, IP_V6_SRC)),
        f"{prefix}_destination": ((*address, IP_V4_DST), (*address, IP_V6_DST)),
        f"{prefix}_source_port": ((*protocol, PROTO_SRC_PORT),),
        f"{prefix}_destination_port": ((*protocol, PROTO_DST_PORT),),
        f"{prefix}_icmp_id": ((*protocol, PROTO_ICMP_ID), (*protocol, PROTO_ICMPV6_ID)),
        f"{prefix}_icmp_type": ((*protocol, PROTO_ICMP_TYPE), (*protocol, PROTO_ICMPV6_TYPE)),
        f"{prefix}_icmp_code": ((*protocol, PROTO_ICMP_CODE), (*protocol, PROTO_ICMPV6_CODE)),
        f"{prefix}_zone": ((kind, TUPLE_ZONE),),
    }


FIELDS: Mapping[str, tuple[Path, ...]] = {
    **_tuple_fields("original", TUPLE_ORIG),
    **_tuple_fields("reply", TUPLE_REPLY),
    "protocol": ((TUPLE_ORIG, TUPLE_PROTO, PROTO_NUM),),
    "state": ((PROTOINFO, PROTOINFO_TCP, 1), (PROTOINFO, PROTOINFO_SCTP, 1)),
    "status": ((STATUS,),),
    "timeout_s": ((TIMEOUT,),),
    "mark": ((MARK,),),
    "zone": ((ZONE,),),
    "original_packets": ((COUNTERS_ORIG, 1),),
    "original_bytes": ((COUNTERS_ORIG, 2),),
    "reply_packets": ((COUNTERS_REPLY, 1),),
    "reply_bytes": ((COUNTERS_REPLY, 2),),
    "start_ns": ((TIMESTAMP, 1),),
    "stop_ns": ((TIMESTAMP, 2),),
    "helper": ((HELP, 1),),
    "use": ((USE,),),
    "id": ((ID,),),
}
"""Every field of a flow, and the paths at which the kernel may put it; `family` is in the message's own header."""

NAMES: Mapping[Path, str] = {path: name for name, paths in FIELDS.items() for path in paths}

CONTAINERS: frozenset[Path] = frozenset(path[:depth] for path in NAMES for depth in range(1, len(path)))
"""The attributes that `wire` looks into; the contents of others are none of its business."""


class Status(enum.IntFlag):
    """IPS_*: what has happened to a flow."""

    EXPECTED = 1 << 0
    SEEN_REPLY = 1 << 1
    ASSURED = 1 << 2
    CONFIRMED = 1 << 3
    SRC_NAT = 1 << 4
    DST_NAT = 1 << 5
    SEQ_ADJUST = 1 << 6
    SRC_NAT_DONE = 1 << 7
    DST_NAT_DONE = 1 << 8
    DYING = 1 << 9
    FIXED_TIMEOUT = 1 << 10
    TEMPLATE = 1 << 11
    NAT_CLASH = 1 << 12
    HELPER = 1 << 13
    OFFLOAD = 1 << 14
    HW_OFFLOAD = 1 << 15


ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132

PROTOCOL_NAMES: Mapping[int, str] = {
    ICMP: "icmp", TCP: "tcp", UDP: "udp", 33: "dccp", 47: "gre", ICMPV6: "icmpv6", SCTP: "sctp", 136: "udplite",
}  # fmt: skip
"""IANA's numbers, in the words of conntrack-tools."""

STATE_NAMES: Mapping[int, tuple[str, ...]] = {
    TCP: (
        "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
        "SYN_SENT2",
    ),
    SCTP: (
        "NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
        "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT", "HEARTBEAT_ACKED",
    ),
}  # fmt: skip
"""By protocol number and state number; other protocols have no states in the kernel's table."""


def protocol_name(number: int) -> str:
    """`tcp`; the number itself for a protocol that has no name here."""
    return PROTOCOL_NAMES.get(number, str(number))


def state_name(protocol: int, state: int | None) -> str:
    """`ESTABLISHED`; empty for protocols without states, the number itself for a state that is not known."""
    if state is None:
        return ""
    names = STATE_NAMES.get(protocol, ())
    return names[state] if state < len(names) else str(state)
