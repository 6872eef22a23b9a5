"""What README and quick start say that commands print, they print; and links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """One for all of a page, in order: a later command may look at what an earlier one did."""
    with Machine(request.param.stem) as started:
        started.ip(["link set lo up"])
        yield started


@pytest.mark.root
@pytest.mark.parametrize(
    ("machine", "command"),
    COMMANDS,
    ids=lambda one: one.line if isinstance(one, Command) else one.stem,
    indirect=["machine"],
)
def test_a_command_prints_what_the_page_says(machine: Machine, command: Command) -> None:
    assert comparable(run(machine, command.line)) == comparable(command.output)


def test_the_two_commands_stand_on_the_first_screen() -> None:
    first_words = [line.split()[0] for line in README.read_text().splitlines()[:20] if line]
    assert {"scripts/run", "scripts/test"} <= set(first_words)


@pytest.mark.parametrize("page", OF_THE_REPOSITORY, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert missing == []
