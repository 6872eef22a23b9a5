"""Probing: many new connections side by side, and what came of each.

That is one word or two: `10.64.1.10:8080 192.0.2.100` (who answered, and whom it
saw), REJECT (an ICMP or RST refusal), UNREACHABLE (another ICMP error; by TCP
only, since a datagram socket is not told), NONE (silence).
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import random
import socket
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from lab import NONE, REJECT, UNREACHABLE, sctp

Order = dict[str, Any]

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
AT_ONCE = 64
"""Probes in flight at a time, those that have been silent for `PATIENCE_S` not counted: no queue overflows."""
PATIENCE_S = 0.1
SILENCE_S = 1.3
"""How long after the last probe or answer another answer is waited for: a lost SYN is sent again after 1 s."""
AGAIN_S = 0.4
"""How long after a datagram that nobody answers it is sent again, SENDINGS times in all: any packet may get lost."""
SENDINGS = 3
FRESH_PORTS = itertools.cycle(range(10000, 61000))
"""Source ports in turn; connection tracking has forgotten one when its turn comes again."""
CONTROL_S = 15.0
"""How long a control may take; a machine under load is slow, not broken."""


def bind(client: socket.socket, source: str) -> None:
    """Bind to a port that was not used before, and to a source address if there is one.

    A datagram from an old port is no new connection. IPVS takes what an endpoint answers for a part of the newest of
    its connections with the same client, port and endpoint, ended ones included (docs/backends/ipvs.md); and sockets
    that get their ports when they connect share them with others that connect elsewhere.
    """
    for port in FRESH_PORTS if client.type != socket.SOCK_RAW else (0,):
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
    client.connect(address)
    return await exchange(client, REQUEST, lambda data: data.decode().rstrip())


async def ask_sctp(client: socket.socket, address: tuple[str, int]) -> str:
    """Send an INIT; what its INIT ACK carries."""
    source_port, tag = next(FRESH_PORTS), random.randrange(1, 1 << 32)
    client.connect((address[0], 0))
    init = sctp.init(source_port, address[1], tag)
    return await exchange(
        client, init, lambda data: sctp.cookie_of(sctp.payload(client.family, data), source_port, tag)
    )


async def exchange(client: socket.socket, message: bytes, read: Callable[[bytes], str | None]) -> str:
    """Send a message until it is answered; `read` makes text of an answer, and None of what is none."""
    for _ in range(SENDINGS):
        with suppress(PermissionError):  # a rule of this machine dropped it; a refusal may still follow
            await asyncio.get_running_loop().sock_sendall(client, message)
        with suppress(TimeoutError):
            return await asyncio.wait_for(heard(client, read), AGAIN_S)
    return await heard(client, read)


async def heard(client: socket.socket, read: Callable[[bytes], str | None]) -> str:
    """The first answer that `read` takes for one."""
    while True:
        text = read(await asyncio.get_running_loop().sock_recv(client, 4096))
        if text is not None:
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
    answer, over the same way and by the same protocol) was answered although
    it was asked last.
    """
    started = await start_all(order["probes"])
    tasks = {task for _, task in started}
    if await unanswered(tasks):
        protocols = {target["protocol"] for target in order["probes"]}
        for control in order.get("controls", []):
            for protocol in protocols:
                await check_control(control | {"protocol": protocol})
        await unanswered(tasks, PATIENCE_S)
    answers: list[Counter[str]] = [Counter() for _ in order["probes"]]
    for index, task in started:
        answers[index][task.result() if task.done() else NONE] += 1
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return answers


async def unanswered(tasks: Collection[asyncio.Task[str]], silence_s: float = SILENCE_S) -> set[asyncio.Task[str]]:
    """The probes that have no answer when none of them got one for a while."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        answered, pending = await asyncio.wait(pending, timeout=silence_s, return_when=asyncio.FIRST_COMPLETED)
        if not answered:
            break
    return pending


async def check_control(control: Order) -> None:
    """ConnectionError or TimeoutError if a control is not answered by an endpoint."""
    answer = await asyncio.wait_for(one_probe(control), CONTROL_S)
    if " " not in answer or answer.startswith("error"):
        raise ConnectionError(f"control {control} gives {answer}")
