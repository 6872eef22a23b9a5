"""Virtual and real servers to netlink and back (include/uapi/linux/ip_vs.h, net/netfilter/ipvs/ip_vs_ctl.c). No socket.

Our own codec, because one with an object per attribute takes several times as
long (docs/decisions has the figures). Ours are marked by scheduler flag 3.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable
from typing import Final

from backends.ipvs.objects import Balance, Real, Server
from kproxy.core.values import Family, Protocol, Value
from kproxy.netlink.addresses import address_text
from kproxy.netlink.attributes import attribute, nested, number, read, string, text
from kproxy.netlink.generic import attributes_of, generic, host_number, host_u32
from kproxy.netlink.messages import Message
from kproxy.netlink.virtual_servers import (
    ADDRESS,
    ADDRESS_FAMILY,
    FLAGS,
    GET_SERVICE,
    MARK,
    NETMASK,
    NUMBERS,
    PORT,
    PROTOCOL,
    SCHEDULER,
    SERVICE,
    TIMEOUT,
    by_address,
    by_mark,
    packed,
)

NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = 5, 6, 7, 8
SET_CONFIG, GET_CONFIG = 12, 13

PERSISTENT, HASHED, SCHED1, SCHED2, SCHED3 = 0x1, 0x2, 0x8, 0x10, 0x20
OURS: Final = SCHED3
"""The flag that says that a virtual server is kproxy's."""
MASQUERADING: Final = 0
"""IP_VS_CONN_F_MASQ: forward by NAT."""

_DEST: Final = 2
_TIMEOUTS: Final = (4, 5, 6)
_D_ADDRESS, _D_PORT, _D_METHOD, _D_WEIGHT, _D_UPPER, _D_LOWER, _D_ACTIVE, _D_INACTIVE = range(1, 9)
_D_FAMILY: Final = 11
_FLAGS_FORM: Final = struct.Struct("=II")
_REAL_FORM: Final = struct.Struct("=HH16sHH2sxxHHHxx")
_WEIGHT_FORM: Final = struct.Struct("=HHIHHIHHIHHI")
"""Several attributes at once: there are more real servers than all else together."""

PROTOCOLS: Final = {one.number: one for one in Protocol}
OWN_FLAGS: Final = PERSISTENT | SCHED1 | SCHED2 | SCHED3
HOST_MASK: Final = {Family.IPV4: 0xFFFFFFFF, Family.IPV6: 128}


class Found(Value, frozen=True):
    """A real server as it stands; `deadline` is when it must be gone (0: it is not leaving)."""

    real: Real
    weight: int
    connections: int
    deadline: int


@functools.lru_cache(maxsize=1)  # the real servers of one come one after another
def server_key(server: Server, family: Family) -> bytes:
    """The attributes that name a virtual server."""
    if server.protocol is None:
        return by_mark(server.mark, family)
    return by_address(server.protocol, server.address, server.port)


def flags_of(balance: Balance) -> int:
    """A virtual server's flags; `mh` looks at the source port too, as with kube-proxy, unless it is to keep clients."""
    hashing = 0
    if balance.scheduler == "mh":
        hashing = SCHED1 if balance.by_source else SCHED2
    return OURS | hashing | (PERSISTENT if balance.persistence_s else 0)


def service_request(command: int, server: Server, family: Family, balance: Balance | None = None) -> bytes:
    """A command on a virtual server; `balance` for NEW_SERVICE and SET_SERVICE."""
    key = server_key(server, family)
    if balance is not None:
        key += (
            text(SCHEDULER, balance.scheduler)
            + attribute(FLAGS, _FLAGS_FORM.pack(flags_of(balance), OWN_FLAGS))
            + host_u32(TIMEOUT, balance.persistence_s)
            + host_u32(NETMASK, HOST_MASK[family])
        )
    return generic(command, nested(SERVICE, key))


def real_request(command: int, real: Real, family: Family, weight: int | None = None, deadline: int = 0) -> bytes:
    """A command on a real server. A deadline (Unix time) is kept as its upper threshold, which no weight of 0 reads."""
    key = _REAL_FORM.pack(
        *(20, _D_ADDRESS, packed(real.address)),
        *(6, _D_PORT, real.port.to_bytes(2, "big")),
        *(6, _D_FAMILY, NUMBERS[family]),
    )
    if weight is not None:
        key += _WEIGHT_FORM.pack(
            8, _D_METHOD, MASQUERADING, 8, _D_WEIGHT, weight, 8, _D_UPPER, deadline, 8, _D_LOWER, 0
        )
    return generic(command, nested(SERVICE, server_key(real.server, family)), nested(_DEST, key))


def reals_request(server: Server, family: Family) -> bytes:
    """Asks (as a dump) for the real servers of a virtual server."""
    return generic(GET_DEST, nested(SERVICE, server_key(server, family)))


def servers_request() -> bytes:
    """Asks (as a dump) for all virtual servers."""
    return generic(GET_SERVICE)


def timeouts_query() -> bytes:
    """Asks for IPVS's time-outs."""
    return generic(GET_CONFIG)


def timeouts_request(timeouts_s: tuple[int, int, int]) -> bytes:
    """Sets IPVS's own time-outs; 0 leaves one alone."""
    return generic(SET_CONFIG, *(host_u32(kind, value) for kind, value in zip(_TIMEOUTS, timeouts_s, strict=True)))


def read_timeouts(answers: Iterable[Message]) -> tuple[int, ...]:
    """The time-outs in force."""
    for received in answers:
        found = attributes_of(received)
        return tuple(host_number(found[kind]) for kind in _TIMEOUTS)
    return ()


def read_server(received: Message, family: Family) -> tuple[Server, Balance] | None:
    """A virtual server of this family that is ours; None for any other."""
    found = read(attributes_of(received)[SERVICE])
    flags = host_number(found[FLAGS][:4])
    if host_number(found[ADDRESS_FAMILY]) != NUMBERS[family] or not flags & OURS:
        return None
    kept_s = host_number(found[TIMEOUT]) if flags & PERSISTENT else 0
    balance = Balance(string(found[SCHEDULER]), kept_s, bool(flags & SCHED1))
    if MARK in found:
        return Server(None, "", 0, host_number(found[MARK])), balance
    protocol = PROTOCOLS.get(host_number(found[PROTOCOL]))
    return Server(protocol, _address(found[ADDRESS], family), number(found[PORT])), balance


def read_real(received: Message, server: Server, family: Family) -> Found:
    """A real server in the answer to `reals_request`."""
    found = read(attributes_of(received)[_DEST])
    real = Real(server, _address(found[_D_ADDRESS], family), number(found[_D_PORT]))
    weight = host_number(found[_D_WEIGHT])
    connections = host_number(found[_D_ACTIVE]) + host_number(found[_D_INACTIVE])
    return Found(real, weight, connections, host_number(found[_D_UPPER]) if weight == 0 else 0)


def _address(payload: bytes, family: Family) -> str:
    return address_text(payload[: family.address_bits // 8])
