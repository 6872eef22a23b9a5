"""A client that opens new TCP connections at a steady pace until its input ends, then says in JSON what came of them.

Arguments: address, port, connections per second. A program: it runs in the namespace of whoever starts it, with the
standard library alone. `retried` counts SYNs that were sent again, of the whole namespace (TCPSynRetrans), which is how
a lost first packet shows even if its second try succeeds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

PATIENCE_S = 5.0


def syns_sent_again() -> int:
    """Counted by the kernel since the namespace began."""
    lines = [line.split() for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        if "TCPSynRetrans" in names:
            return int(values[names.index("TCPSynRetrans")])
    raise KeyError("TCPSynRetrans")


async def connect(address: str, port: int) -> str:
    """`answered`, or the name of what went wrong."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
    except OSError as error:  # TimeoutError is one
        return type(error).__name__
    return "answered" if answer else "silence"


async def load(address: str, port: int, per_second: int) -> dict[str, object]:
    """Connections by an absolute schedule, so that a late tick is made up for."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    began, before = time.monotonic(), syns_sent_again()
    tasks: list[asyncio.Task[str]] = []
    while not ended.is_set():
        due = int((time.monotonic() - began) * per_second)
        tasks += (asyncio.create_task(connect(address, port)) for _ in range(due - len(tasks)))
        await asyncio.sleep(0.005)
    took_s = time.monotonic() - began
    results = Counter(await asyncio.gather(*tasks))
    return {"results": results, "took_s": took_s, "retried": syns_sent_again() - before}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))  # noqa: T201 - its answer
