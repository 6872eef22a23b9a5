"""Answers by TCP and UDP on the ports given as arguments until it is ended: `python3 -m lab.serve 8080`."""

from __future__ import annotations

import asyncio
import sys

from lab.listening import listen_tcp, listen_udp


async def serve(ports: list[int]) -> None:
    """Answer for ever, on every address, both families."""
    await listen_tcp(ports)
    await listen_udp(ports)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve([int(port) for port in sys.argv[1:]]))
