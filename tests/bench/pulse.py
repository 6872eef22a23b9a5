"""A client that opens new TCP connections at a steady pace until its input ends; each second it says what came of them.

Arguments: address, port, connections per second. Each line is JSON: outcomes by name, and the median and the longest of
the times in milliseconds that connections took from opening to their answer's end.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter

from tests.e2e.steady import connect

EVERY_S = 1.0


class Pulse:
    """What came of the connections since it was last told."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        self.took_ms: list[float] = []

    async def beat(self, address: str, port: int) -> None:
        """One connection."""
        began = time.monotonic()
        self.results[await connect(address, port)] += 1
        self.took_ms.append((time.monotonic() - began) * 1000)

    def tell(self) -> None:
        """A line, and begin anew."""
        took = self.took_ms or [0.0]
        line = {"results": self.results, "median_ms": statistics.median(took), "worst_ms": max(took)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        self.results, self.took_ms = Counter(), []


async def load(address: str, port: int, per_second: int) -> None:
    """Connections by an absolute schedule, so that a late tick is made up for."""
    ended, pulse = asyncio.Event(), Pulse()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    began = told = time.monotonic()
    opened, under_way = 0, set[asyncio.Task[None]]()
    while not ended.is_set():
        now = time.monotonic()
        for _ in range(int((now - began) * per_second) - opened):
            opened += 1
            task = asyncio.create_task(pulse.beat(address, port))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if now - told >= EVERY_S:
            pulse.tell()
            told = now
        await asyncio.sleep(0.01)
    await asyncio.gather(*under_way)
    pulse.tell()


if __name__ == "__main__":
    asyncio.run(load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
