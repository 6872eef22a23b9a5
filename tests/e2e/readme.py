"""Commands of README and quick start: found, run on a machine of the laboratory, and compared with what stands there.

`python -m tests.e2e.readme` (or `scripts/readme`) writes down what they print now.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.machine import ROOT, Machine

README = ROOT / "README.md"
PAGES = (README, ROOT / "docs" / "quick-start.md")
"""Each on a machine of its own."""
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
VARYING = ((re.compile(r" *\d+ █+ *"), " N "), (re.compile(r"\d+ ms"), "N ms"))
"""What differs from run to run: how often each endpoint answered, and how long things took."""


@dataclass(frozen=True)
class Command:
    """A command and what it prints, as a page has it."""

    line: str
    output: str


def commands(block: str) -> Iterator[Command]:
    """The commands of a console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield Command(line, output)


def comparable(output: str) -> list[str]:
    """The lines of an output without what varies, and without spaces at their ends."""
    for pattern, word in VARYING:
        output = pattern.sub(word, output)
    return [line.rstrip() for line in output.rstrip().splitlines()]


def run(machine: Machine, line: str) -> str:
    """What a command prints on standard output; it may end with 1, which is how diff says that something differs."""
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    script = f"set -o pipefail; {line}\nstatus=$?; [ $status -le 1 ] || exit $status"
    printed = machine.run("env", f"PATH={path}", "COLUMNS=200", "NO_COLOR=1", "bash", "-c", f"cd {ROOT}; {script}")
    return "\n".join(text.rstrip() for text in printed.rstrip().splitlines()) + ("\n" if printed else "")


def rewritten(text: str, answer: Callable[[str], str]) -> str:
    """A page with the outputs that the commands give; those that only vary as they may are left alone."""

    def block(match: re.Match[str]) -> str:
        parts = []
        for command in commands(match[1]):
            fresh = answer(command.line)
            output = command.output if comparable(command.output) == comparable(fresh) else fresh
            parts.append(f"{PROMPT}{command.line}\n{output}")
        return f"```console\n{''.join(parts)}```"

    return BLOCK.sub(block, text)


def main() -> int:
    """Write the outputs down."""
    for page in PAGES:
        with Machine(page.stem) as machine:
            machine.ip(["link set lo up"])
            page.write_text(rewritten(page.read_text(), lambda line, on=machine: run(on, line)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
