"""One order to probe from standard input, its answer on standard output: for machines that are reached by ssh."""

from __future__ import annotations

import asyncio
import json
import sys

from lab.probing import probe

if __name__ == "__main__":
    json.dump(asyncio.run(probe(json.load(sys.stdin))), sys.stdout)
