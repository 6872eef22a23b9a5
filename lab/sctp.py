"""SCTP's opening handshake over raw sockets, because a kernel may forward and translate SCTP without speaking it.

A client sends INIT, an endpoint answers INIT ACK with its text as the state
cookie (RFC 9260, sections 3.3.2 and 3.3.3); no association is ever made. That is
all that load balancing decides about.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection

NUMBER = 132
HEADER = struct.Struct("!HHI4s")
"""Source port, destination port, verification tag, checksum."""
CHUNK = struct.Struct("!BBHIIHHI")
"""Type, flags, length; initiate tag, receiver window, outbound and inbound streams, initial TSN."""
PARAMETER = struct.Struct("!HH")
INIT, INIT_ACK = 1, 2
STATE_COOKIE = 7
WINDOW_BYTES, STREAMS = 65536, 1
CASTAGNOLI = 0x82F63B78
"""CRC-32C's polynomial, bits reversed (RFC 9260, appendix A)."""


def crc32c(data: bytes) -> bytes:
    """The checksum as it stands in the header."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CASTAGNOLI if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def packet(kind: int, ports: tuple[int, int], verification_tag: int, initiate_tag: int, cookie: bytes = b"") -> bytes:
    """An INIT, or an INIT ACK with a state cookie."""
    parameter = PARAMETER.pack(STATE_COOKIE, PARAMETER.size + len(cookie)) + cookie if cookie else b""
    length = CHUNK.size + len(parameter)
    chunk = CHUNK.pack(kind, 0, length, initiate_tag, WINDOW_BYTES, STREAMS, STREAMS, initiate_tag) + parameter
    chunk += b"\0" * (-length % 4)
    bare = HEADER.pack(*ports, verification_tag, b"\0" * 4) + chunk
    return HEADER.pack(*ports, verification_tag, crc32c(bare)) + chunk


def init(source_port: int, port: int, tag: int) -> bytes:
    """A client's first packet."""
    return packet(INIT, (source_port, port), 0, tag)


def cookie_of(data: bytes, source_port: int, tag: int) -> str | None:
    """The text of the INIT ACK that answers our INIT; None for any other packet (a raw socket sees them all)."""
    if len(data) < HEADER.size + CHUNK.size + PARAMETER.size:
        return None
    _, destination, verification_tag, _ = HEADER.unpack_from(data)
    kind, _, length, *_ = CHUNK.unpack_from(data, HEADER.size)
    if (kind, destination, verification_tag) != (INIT_ACK, source_port, tag):
        return None
    return data[HEADER.size + CHUNK.size + PARAMETER.size : HEADER.size + length].decode()


def port_of(data: bytes, ports: Collection[int]) -> int | None:
    """The port that an INIT is for; None if the packet is no INIT, or for none of our ports."""
    if len(data) < HEADER.size + CHUNK.size or data[HEADER.size] != INIT:
        return None
    port = HEADER.unpack_from(data)[1]
    return port if port in ports else None


def init_ack(data: bytes, text: str) -> bytes:
    """The answer to an INIT, with this text."""
    source, destination, _, _ = HEADER.unpack_from(data)
    tag = CHUNK.unpack_from(data, HEADER.size)[3]
    return packet(INIT_ACK, (destination, source), tag, tag, text.encode())


def raw_socket(family: socket.AddressFamily) -> socket.socket:
    """A non-blocking socket that receives every SCTP packet of the machine."""
    raw = socket.socket(family, socket.SOCK_RAW, NUMBER)
    raw.setblocking(False)
    return raw


def payload(family: socket.AddressFamily, data: bytes) -> bytes:
    """What follows the IP header, which a raw socket shows for IPv4 only."""
    return data[(data[0] & 15) * 4 :] if family == socket.AF_INET else data
