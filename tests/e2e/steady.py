"""A client that opens new TCP connections at a steady pace until its input ends, then says in JSON what came of them.

Arguments: address, port, connections per second. A program: it runs in the namespace of whoever starts it, with the
standard library alone. A lost first packet is sent again by the kernel, so it does not show in what is said.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter

PATIENCE_S = 60.0


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
    began = time.monotonic()
    tasks: list[asyncio.Task[str]] = []
    while True:
        took_s = time.monotonic() - began
        tasks += (asyncio.create_task(connect(address, port)) for _ in range(int(took_s * per_second) - len(tasks)))
        if ended.is_set():
            return {"results": Counter(await asyncio.gather(*tasks)), "took_s": took_s}
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    print(json.dumps(asyncio.run(load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))  # noqa: T201 - its answer
