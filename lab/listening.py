"""Answering: TCP by HTTP, UDP, and SCTP's first packet, on ports of every address that the machine has, both families.

An answer is one line, `10.64.1.10:8080 192.0.2.100`: who answers, and whom it sees.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from lab import sctp

BACKLOG = 4096
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in Python's module
IP_PKTINFO = 8  # linux/in.h
IPV6_FREEBIND = 78  # linux/in6.h
BUFFER_BYTES = 1 << 22


def without_mapping(address: str) -> str:
    """`::ffff:10.0.0.1`, as a dual-stack socket has it, in IPv4 notation."""
    return address.removeprefix("::ffff:") if "." in address else address


def endpoint_text(address: str, port: int) -> str:
    """`10.0.0.1:80` or `[fd00::1]:80`."""
    plain = without_mapping(address)
    return f"[{plain}]:{port}" if ":" in plain else f"{plain}:{port}"


class HttpAnswer(asyncio.Protocol):
    """Answers the first bytes of a connection, whatever they are, by HTTP, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - any request will do
        """Answer; one write holds it all, so a second one does not come."""
        own, peer = self.transport.get_extra_info("socket").getsockname(), self.transport.get_extra_info("peername")
        body = f"{endpoint_text(*own[:2])} {without_mapping(peer[0])}\n"
        head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write((head + body).encode())  # type: ignore[attr-defined]
        self.transport.close()


def destination_of(ancillary: list[tuple[int, int, bytes]]) -> str:
    """The address that a datagram was sent to, from its packet information."""
    level, _, info = ancillary[0]
    family, address = (socket.AF_INET6, info[:16]) if level == socket.IPPROTO_IPV6 else (socket.AF_INET, info[8:12])
    return socket.inet_ntop(family, address)


def sent_from(address: str, family: int) -> tuple[int, int, bytes]:
    """Packet information that makes this address the source; the machine may own a whole network of them."""
    number = socket.inet_pton(family, address)
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, number + struct.pack("=I", 0)
    return socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I", 0) + number + bytes(4)


def datagrams(server: socket.socket) -> Iterator[tuple[bytes, str, Any]]:
    """Every datagram that waits: what it says, the address that it was sent to, and its sender."""
    while True:
        try:
            data, ancillary, _, peer = server.recvmsg(2048, 64)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error for an earlier answer: not ours to care
            continue
        yield data, destination_of(ancillary), peer


def answer_datagrams(server: socket.socket, port: int) -> None:
    """Answer every datagram that waits."""
    for _, own, peer in datagrams(server):
        text = f"{endpoint_text(own, port)} {without_mapping(peer[0])}\n"
        with suppress(OSError):
            server.sendmsg([text.encode()], [sent_from(own, server.family)], 0, peer)


def answer_inits(server: socket.socket, ports: Collection[int]) -> None:
    """Answer every SCTP INIT that waits."""
    for data, own, peer in datagrams(server):
        message = sctp.payload(server.family, data)
        port = sctp.port_of(message, ports)
        if port is not None:
            text = f"{endpoint_text(own, port)} {peer[0]}"
            with suppress(OSError):
                server.sendmsg([sctp.init_ack(message, text)], [sent_from(own, server.family)], 0, peer)


def dual_stack(kind: int, port: int) -> socket.socket:
    """A socket that serves both families, with room for a storm of probes."""
    server = socket.socket(socket.AF_INET6, kind)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)  # to answer from any address of a network that is local
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    server.setblocking(False)
    server.bind(("::", port))
    return server


async def listen_tcp(ports: Collection[int]) -> None:
    """Answer connections."""
    for port in ports:
        server = dual_stack(socket.SOCK_STREAM, port)
        await asyncio.get_running_loop().create_server(HttpAnswer, sock=server, backlog=BACKLOG)


async def listen_udp(ports: Collection[int]) -> None:
    """Answer datagrams."""
    for port in ports:
        server = dual_stack(socket.SOCK_DGRAM, port)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        asyncio.get_running_loop().add_reader(server, answer_datagrams, server, port)


async def listen_sctp(ports: Collection[int]) -> None:
    """Answer the first packet of an association."""
    options = {
        socket.AF_INET: [(socket.IPPROTO_IP, IP_PKTINFO)],
        socket.AF_INET6: [(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO), (socket.IPPROTO_IPV6, IPV6_FREEBIND)],
    }
    for family, names in options.items():
        server = sctp.raw_socket(family)
        for level, name in names:
            server.setsockopt(level, name, 1)
        asyncio.get_running_loop().add_reader(server, answer_inits, server, ports)


LISTENERS = {"TCP": listen_tcp, "UDP": listen_udp, "SCTP": listen_sctp}


async def listen(order: dict[str, Any]) -> None:
    """Answer on each port of the order from now on: `{"protocol": "TCP", "ports": [8080]}`."""
    await LISTENERS[order["protocol"]](order["ports"])
