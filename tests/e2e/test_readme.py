"""What README and quick start say that commands print, they print; and links lead somewhere."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab.machine import ROOT, Machine
from tests.e2e.readme import BLOCK, PAGES, README, Command, commands, comparable, run

COMMANDS = [
    (page, command) for page in PAGES for block in BLOCK.findall(page.read_text()) for command in commands(block)
]
OF_THE_REPOSITORY = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
"""Pages with links; tests/docs looks at those of the site."""
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.fixture(scope="module")
def machines() -> Iterator[Mapping[Path, Machine]]:
    """One for all commands of a page, in order: a later one may look at what an earlier one did."""
    with contextlib.ExitStack() as stack:
        started = {page: stack.enter_context(Machine(page.stem)) for page in PAGES}
        for machine in started.values():
            machine.ip(["link set lo up"])
        yield started


@pytest.mark.root
@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page.stem}-{one.line}" for page, one in COMMANDS])
def test_a_command_prints_what_the_page_says(machines: Mapping[Path, Machine], page: Path, command: Command) -> None:
    assert comparable(run(machines[page], command.line)) == comparable(command.output)


def test_the_two_commands_stand_on_the_first_screen() -> None:
    first_words = [line.split()[0] for line in README.read_text().splitlines()[:20] if line]
    assert {"scripts/run", "scripts/test"} <= set(first_words)


@pytest.mark.parametrize("page", OF_THE_REPOSITORY, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert missing == []
