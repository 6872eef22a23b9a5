"""The program that lives in a namespace: it answers on ports, and probes others, as it is told.

Orders come as JSON lines on standard input (a socket), one answer line for each;
end of input ends the program, and with it the namespace. Only the standard
library, so that a dozen of them start quickly.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.listening import listen
from lab.probing import probe

Order = dict[str, Any]


def sysctl(order: Order) -> None:
    """Set this namespace's own sysctls: `{"values": {"net/ipv4/ip_forward": "1"}}`; `?` after a name: if it exists."""
    for name, value in order["values"].items():
        path = Path("/proc/sys", name.removesuffix("?"))
        if path.exists() or not name.endswith("?"):
            path.write_text(value)


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
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole terminal; the end of input tells us
        signal.signal(number, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with suppress(ConnectionError):  # whoever gave the orders is gone, and does not wait for the answer
        asyncio.run(serve())
