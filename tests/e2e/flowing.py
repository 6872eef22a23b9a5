"""Connections over which data flow all the time: one end sends them back, the other tells how many came back.

`serve PORT` says `ready` and echoes, on every address; `talk ADDRESS PORT CONNECTIONS PAUSE` says `flowing` once all
are open, and when its input ends, in JSON, how often each was answered or what went wrong. A program: it runs in the
namespace of whoever starts it, with the standard library alone.
"""

from __future__ import annotations

import asyncio
import json
import sys

PATIENCE_S = 60.0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes."""
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


async def serve(port: int) -> None:
    """Until this program is ended."""
    server = await asyncio.start_server(echo, ["0.0.0.0", "::"], port)
    say("ready")
    await server.serve_forever()


async def flow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause_s: float, ended: asyncio.Event) -> int:
    """How often a line came back; once more after the end, so that nothing hangs unseen."""
    count, is_last = 0, False
    while not is_last:
        is_last = ended.is_set()
        writer.write(b"%d\n" % count)
        line = await asyncio.wait_for(reader.readline(), PATIENCE_S)
        if line != b"%d\n" % count:
            raise ConnectionError(f"after {count} lines came {line!r}")
        count += 1
        await asyncio.sleep(pause_s)
    writer.close()
    return count


async def talk(address: str, port: int, connections: int, pause_s: float) -> None:
    """Until the input ends."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    opened = [await asyncio.wait_for(asyncio.open_connection(address, port), PATIENCE_S) for _ in range(connections)]
    flows = [asyncio.create_task(flow(*one, pause_s, ended)) for one in opened]
    say("flowing")
    came = await asyncio.gather(*flows, return_exceptions=True)
    say(json.dumps([one if isinstance(one, int) else repr(one) for one in came]))


def say(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    asyncio.run(
        serve(int(words[0])) if what == "serve" else talk(words[0], int(words[1]), int(words[2]), float(words[3]))
    )
