"""One target under atheris: `python -m tests.fuzz.guided TARGET [libFuzzer's options] CORPUS`; scripts/fuzz starts it.

Not collected by pytest, and the only file that imports atheris, which has an environment of its own.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["kproxy", "backends", "conntrack"]):
    from tests.fuzz.targets import TARGETS, seeds

from tests.fuzz.damage import hurt_messages

MESSAGES = ("netlink", "nftables", "ipvs", "conntrack")


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Half of the time attributes are changed and lengths kept right, else bytes by libFuzzer."""
    chance = Random(seed)
    return hurt_messages(chance, data)[:most] if chance.random() < 0.5 else bytes(atheris.Mutate(data, most))


def main(arguments: list[str]) -> int:
    """Fuzz until the time is over; atheris ends the process itself."""
    if arguments == ["--list"]:
        sys.stdout.write(" ".join(TARGETS) + "\n")
        return 0
    name, *options = arguments
    corpus = Path(options[-1])
    for seed in seeds(name):
        corpus.joinpath(hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    atheris.Setup([name, *options], TARGETS[name], **({"custom_mutator": mutated} if name in MESSAGES else {}))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
