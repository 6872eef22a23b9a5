"""What the README says that commands print, they print; and its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import ROOT, Machine
from tests.e2e.readme import BLOCK, README, Command, commands, comparable, run

COMMANDS = [command for block in BLOCK.findall(README.read_text()) for command in commands(block)]
PAGES = [README, *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md"), ROOT / "CHANGELOG.md"]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One for all, in order: a later command may look at what an earlier one did."""
    with Machine("readme") as started:
        started.ip(["link set lo up"])
        yield started


@pytest.mark.root
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.line)
def test_a_command_prints_what_the_readme_says(machine: Machine, command: Command) -> None:
    assert comparable(run(machine, command.line)) == comparable(command.output)


def test_the_two_commands_stand_on_the_first_screen() -> None:
    first_words = [line.split()[0] for line in README.read_text().splitlines()[:20] if line]
    assert {"scripts/run", "scripts/test"} <= set(first_words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert missing == []
