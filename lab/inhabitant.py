"""The program that lives in a namespace: it answers on ports, and probes others, as it is told.

Orders come as JSON lines on standard input (a socket), one answer line for each;
end of input ends the program, and with it the namespace. Only the standard
library, so that a dozen of them start quickly.

A probe is one new connection. What comes of it is one word or two:
`10.64.1.10:8080 192.0.2.100` (who answered, and whom it saw), REJECT (an ICMP
or RST refusal), UNREACHABLE (another ICMP error; by TCP only, since a datagram
socket is not told), NONE (silence).
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import random
import resource
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab import NONE, REJECT, UNREACHABLE, sctp

Order = dict[str, Any]

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
BACKLOG = 4096
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in Python's module
IP_PKTINFO = 8  # linux/in.h
IPV6_FREEBIND = 78  # linux/in6.h
BUFFER_BYTES = 1 << 22
AT_ONCE = 200
"""Probes in flight at a time, those that have been silent for `PATIENCE_S` not counted: no queue overflows."""
PATIENCE_S = 0.1
SILENCE_S = 1.3
"""How long after the last probe an answer is waited for: a lost SYN is sent again after 1 s."""
FRESH_PORTS = itertools.cycle(range(10000, 61000))
"""Source ports in turn; connection tracking has forgotten one when its turn comes again."""
CONTROL_S = 15.0
"""How long a control may take; a machine under load is slow, not broken."""


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


async def listen(order: Order) -> None:
    """Answer on each port of the order from now on: `{"protocol": "TCP", "ports": [8080]}`."""
    await LISTENERS[order["protocol"]](order["ports"])


def sysctl(order: Order) -> None:
    """Set this namespace's own sysctls: `{"values": {"net/ipv4/ip_forward": "1"}}`; `?` after a name: if it exists."""
    for name, value in order["values"].items():
        path = Path("/proc/sys", name.removesuffix("?"))
        if path.exists() or not name.endswith("?"):
            path.write_text(value)


def bind(client: socket.socket, source: str) -> None:
    """Bind to a source address, if there is one, and a datagram socket to a port that was not used before.

    A datagram from an old port is no new connection.
    """
    if client.type != socket.SOCK_DGRAM:
        if source:
            client.bind((source, 0))
        return
    for port in FRESH_PORTS:
        try:
            client.bind((source, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return


async def ask_tcp(client: socket.socket, address: tuple[str, int]) -> str:
    """Connect and ask; the last line of what is answered until the end."""
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, address)
    await loop.sock_sendall(client, REQUEST)
    answer = b""
    while data := await loop.sock_recv(client, 4096):
        answer += data
    return answer.decode().rstrip().rpartition("\n")[2] or REJECT


async def ask_udp(client: socket.socket, address: tuple[str, int]) -> str:
    """Send a datagram; what is answered."""
    loop = asyncio.get_running_loop()
    client.connect(address)
    with suppress(PermissionError):  # a rule of this machine dropped it; a refusal may still follow
        await loop.sock_sendall(client, REQUEST)
    return (await loop.sock_recv(client, 4096)).decode().rstrip()


async def ask_sctp(client: socket.socket, address: tuple[str, int]) -> str:
    """Send an INIT; what its INIT ACK carries."""
    loop = asyncio.get_running_loop()
    source_port, tag = next(FRESH_PORTS), random.randrange(1, 1 << 32)
    client.connect((address[0], 0))
    with suppress(PermissionError):
        await loop.sock_sendall(client, sctp.init(source_port, address[1], tag))
    while True:
        message = sctp.payload(client.family, await loop.sock_recv(client, 4096))
        if text := sctp.cookie_of(message, source_port, tag):
            return text


ASKERS = {
    "TCP": (socket.SOCK_STREAM, 0, ask_tcp),
    "UDP": (socket.SOCK_DGRAM, 0, ask_udp),
    "SCTP": (socket.SOCK_RAW, sctp.NUMBER, ask_sctp),
}


async def one_probe(order: Order) -> str:
    """One new connection or datagram, and what came of it; never ends where there is silence."""
    kind, number, ask = ASKERS[order["protocol"]]
    family = socket.AF_INET6 if ":" in order["to"] else socket.AF_INET
    with socket.socket(family, kind, number) as client:
        client.setblocking(False)
        try:
            bind(client, order.get("source") or "")
            return await ask(client, (order["to"], order["port"]))
        except OSError as error:
            return failure(error)


def failure(error: OSError) -> str:
    """What an error says about the packet's fate."""
    if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
        return REJECT
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.ENOPROTOOPT):
        return UNREACHABLE
    return f"error {error.errno} {error.strerror}"


async def start_all(orders: list[Order]) -> list[tuple[int, asyncio.Task[str]]]:
    """Begin every probe (an order's `count` of them), not more than AT_ONCE in flight; each with its order's index."""
    loop = asyncio.get_running_loop()
    slots = asyncio.Semaphore(AT_ONCE)
    in_flight: set[asyncio.Task[str]] = set()

    def leave(task: asyncio.Task[str]) -> None:
        if task in in_flight:
            in_flight.remove(task)
            slots.release()

    started: list[tuple[int, asyncio.Task[str]]] = []
    for index, order in enumerate(orders):
        for _ in range(order["count"]):
            await slots.acquire()
            task = asyncio.create_task(one_probe(order))
            in_flight.add(task)
            task.add_done_callback(leave)
            loop.call_later(PATIENCE_S, leave, task)
            started.append((index, task))
    return started


async def probe(order: Order) -> list[Counter[str]]:
    """Every probe of the order, side by side: how often each answer came, per target.

    Silence is believed only after every control (a target that is known to
    answer, over the same way) was answered although it was asked last.
    """
    started = await start_all(order["probes"])
    tasks = [task for _, task in started]
    if tasks:
        await asyncio.wait(tasks, timeout=order.get("silence_s", SILENCE_S))
    if not all(task.done() for task in tasks):
        for control in order.get("controls", []):
            answer = await asyncio.wait_for(one_probe(control), CONTROL_S)
            if " " not in answer or answer.startswith("error"):
                raise ConnectionError(f"control {control} gives {answer}")
    answers: list[Counter[str]] = [Counter() for _ in order["probes"]]
    for index, task in started:
        answers[index][task.result() if task.done() else NONE] += 1
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return answers


Handler = Callable[[Order], Any]
ORDERS: Mapping[str, Handler] = {"listen": listen, "sysctl": sysctl, "probe": probe}


async def serve() -> None:
    """Obey orders until there are no more."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=sys.stdin.fileno()), limit=1 << 24)
    while line := await reader.readline():
        order = json.loads(line)
        try:
            answer = ORDERS[order["order"]](order)
            reply = {"answer": await answer if isinstance(answer, Coroutine) else answer}
        except (OSError, TimeoutError) as error:
            reply = {"error": f"{type(error).__name__} {error}"}
        writer.write(json.dumps(reply).encode() + b"\n")
        await writer.drain()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the end of input tells us
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    asyncio.run(serve())
