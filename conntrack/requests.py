"""Requests to ctnetlink, each a message type and its payload: dump, delete, counters, limits.

A `Selection` is what the kernel itself can filter by; it saves the copying of
flows that nobody asked for, and is never relied on: older kernels ignore what
they do not know (CTA_FILTER is of Linux 5.8, the status filter of 6.2), so the
caller judges what comes back.
"""

from __future__ import annotations

import struct

from conntrack import layout
from conntrack.entry import Entry, address_bytes
from conntrack.layout import AF_INET, AF_INET6, AF_UNSPEC, SUBSYSTEM, Status
from kproxy.core.values import Family, Value, family_of
from kproxy.netlink.attributes import attribute as raw
from kproxy.netlink.attributes import nested, u8, u16, u32
from kproxy.netlink.messages import netfilter

Request = tuple[int, bytes]
"""nlmsg_type and payload, as the socket's door takes them."""

_FAMILIES = {None: AF_UNSPEC, Family.IPV4: AF_INET, Family.IPV6: AF_INET6}

_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_BY_SOURCE, _BY_DESTINATION, _BY_PROTOCOL, _BY_DESTINATION_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 5
"""CTA_FILTER_FLAG(CTA_FILTER_…) of net/netfilter/nf_conntrack_netlink.c."""


class Selection(Value, frozen=True):
    """Which flows a dump is asked for; the default is all of them."""

    family: Family | None = None
    protocol: int | None = None
    source: str | None = None
    destination: str | None = None
    destination_port: int | None = None
    """These four speak of the original tuple; the kernel wants a protocol with a port."""
    mark: int | None = None
    zone: int | None = None
    status: Status = Status(0)
    status_mask: Status = Status(0)
    """Flows whose status, under this mask, is `status`."""


ALL = Selection()


def dumps(selection: Selection) -> tuple[Request, ...]:
    """The dumps (IPCTNL_MSG_CT_GET) that together give the selection: the kernel filters tuples of one family only."""
    address = selection.source or selection.destination
    family = family_of(address) if address else selection.family
    if family is None and selection.protocol is not None:
        return tuple(_dump(selection, one) for one in Family)
    return (_dump(selection, family),)


def _dump(selection: Selection, family: Family | None) -> Request:
    attributes = []
    if selection.mark is not None:
        attributes += [u32(layout.MARK, selection.mark), u32(layout.MARK_MASK, 0xFFFFFFFF)]
    if selection.status_mask:
        attributes += [u32(layout.STATUS, selection.status), u32(layout.STATUS_MASK, selection.status_mask)]
    if selection.zone is not None:
        attributes.append(u16(layout.ZONE, selection.zone))
    attributes += _tuple_filter(selection, family)
    return _request(layout.GET, _FAMILIES[family], *attributes)


def _tuple_filter(selection: Selection, family: Family | None) -> list[bytes]:
    """IPv6 addresses stay out of it: the kernel (5.8 to 6.18 at least) then gives all flows *but* those asked for."""
    flags, addresses, protocol = 0, [], []
    if selection.source is not None and family is Family.IPV4:
        flags |= _BY_SOURCE
        addresses.append(raw(layout.IP_V4_SRC, address_bytes(selection.source)))
    if selection.destination is not None and family is Family.IPV4:
        flags |= _BY_DESTINATION
        addresses.append(raw(layout.IP_V4_DST, address_bytes(selection.destination)))
    if selection.protocol is not None:
        flags |= _BY_PROTOCOL
        protocol.append(u8(layout.PROTO_NUM, selection.protocol))
        if selection.destination_port is not None:
            flags |= _BY_DESTINATION_PORT
            protocol.append(u16(layout.PROTO_DST_PORT, selection.destination_port))
    if not flags:
        return []
    parts = [nested(layout.TUPLE_IP, *addresses)] if addresses else []
    parts += [nested(layout.TUPLE_PROTO, *protocol)] if protocol else []
    return [
        nested(layout.TUPLE_ORIG, *parts),
        nested(layout.FILTER, _native_u32(_FILTER_ORIG_FLAGS, flags), _native_u32(_FILTER_REPLY_FLAGS, 0)),
    ]


def delete(entry: Entry) -> Request:
    """Delete exactly this flow: the kernel refuses (ENOENT) where another one has its tuple by now, told by the id."""
    source, destination = address_bytes(entry.original.source), address_bytes(entry.original.destination)
    v6 = entry.family is Family.IPV6
    original = nested(
        layout.TUPLE_ORIG,
        nested(
            layout.TUPLE_IP,
            raw(layout.IP_V6_SRC if v6 else layout.IP_V4_SRC, source),
            raw(layout.IP_V6_DST if v6 else layout.IP_V4_DST, destination),
        ),
        nested(layout.TUPLE_PROTO, u8(layout.PROTO_NUM, entry.protocol), *_protocol_parts(entry)),
        *([u16(layout.TUPLE_ZONE, entry.original.zone)] if entry.original.zone else []),
    )
    attributes = [original]
    if entry.zone:
        attributes.append(u16(layout.ZONE, entry.zone))
    if entry.id is not None:
        attributes.append(u32(layout.ID, entry.id))
    return _request(layout.DELETE, _FAMILIES[entry.family], *attributes)


def _protocol_parts(entry: Entry) -> list[bytes]:
    original = entry.original
    if original.source_port is not None and original.destination_port is not None:
        return [
            u16(layout.PROTO_SRC_PORT, original.source_port),
            u16(layout.PROTO_DST_PORT, original.destination_port),
        ]
    if original.icmp_type is None or original.icmp_code is None or original.icmp_id is None:
        return []
    shift = layout.PROTO_ICMPV6_ID - layout.PROTO_ICMP_ID if entry.protocol == layout.ICMPV6 else 0
    return [
        u16(layout.PROTO_ICMP_ID + shift, original.icmp_id),
        u8(layout.PROTO_ICMP_TYPE + shift, original.icmp_type),
        u8(layout.PROTO_ICMP_CODE + shift, original.icmp_code),
    ]


def _request(kind: int, family: int, *attributes: bytes) -> Request:
    return SUBSYSTEM << 8 | kind, netfilter(family, *attributes)


CPU_COUNTERS = _request(layout.GET_STATS_CPU, AF_UNSPEC)
"""Asks, as a dump, for the counters of every processor."""

LIMITS = _request(layout.GET_STATS, AF_UNSPEC)
"""Asks for the number of flows and the maximum."""


def _native_u32(kind: int, number: int) -> bytes:
    """CTA_FILTER's flags are in host order, unlike all other numbers here."""
    return raw(kind, struct.pack("=I", number))
