"""A client that holds one connection: it says `held`, and what it was answered once its input has ended.

Arguments: protocol (TCP or UDP), source, address, port. A program: it runs in the namespace of whoever starts it,
with the standard library alone. By UDP a connection is held when a datagram was answered.
"""

from __future__ import annotations

import socket
import sys

PATIENCE_S = 60.0
SENDINGS, AGAIN_S = 30, 2.0
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def exchange(client: socket.socket) -> bytes:
    """A datagram's answer; it is sent again, for any may get lost."""
    for _ in range(SENDINGS):
        client.send(REQUEST)
        try:
            return client.recv(4096)
        except TimeoutError:
            continue
    raise TimeoutError


def hold(client: socket.socket, address: tuple[str, int]) -> bytes:
    """Connect, tell, wait, ask."""
    client.connect(address)
    by_stream = client.type == socket.SOCK_STREAM
    if not by_stream:
        exchange(client)
    say("held")
    sys.stdin.read()
    if not by_stream:
        return exchange(client)
    client.sendall(REQUEST)
    return b"".join(iter(lambda: client.recv(4096), b""))


def say(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Hold one connection."""
    protocol, source, address, port = sys.argv[1:]
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as client:
        client.settimeout(PATIENCE_S if protocol == "TCP" else AGAIN_S)
        client.bind((source, 0))
        say(hold(client, (address, int(port))).decode().rstrip().rpartition("\n")[2])


if __name__ == "__main__":
    main()
