"""The files that are made from the code: the reference, its pictures, man pages and completion.

`python -m tests.docs.generated` (or `scripts/docs --write`) writes them anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from kproxy.cli.app import app
from kproxy.cli.session import COMPLETION_VARIABLE, PROGRAM
from lab.machine import ROOT
from tests.docs import cli_page, config_page, diagrams, man_pages, metrics_page

MAN = ROOT / "share" / "man" / "man1"
COMPLETIONS = {
    "bash": ROOT / "share" / "bash-completion" / "completions" / PROGRAM,
    "zsh": ROOT / "share" / "zsh" / "site-functions" / f"_{PROGRAM}",
    "fish": ROOT / "share" / "fish" / "vendor_completions.d" / f"{PROGRAM}.fish",
}
REFERENCE = ROOT / "docs" / "reference"
IMAGES = ROOT / "docs" / "images"


def files() -> dict[Path, str]:
    """Every generated file and what is to stand in it."""
    return {
        REFERENCE / "cli.md": cli_page.page(),
        REFERENCE / "configuration.md": config_page.page(),
        REFERENCE / "metrics.md": metrics_page.page(),
        **{IMAGES / name: text for name, text in diagrams.pictures().items()},
        **{MAN / name: text for name, text in man_pages.pages().items()},
        **{path: completion(shell) for shell, path in COMPLETIONS.items()},
    }


def completion(shell: str) -> str:
    """The script that a shell loads by itself from its own directory."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this click has no completion for {shell}")
    return kind(app, {}, PROGRAM, COMPLETION_VARIABLE).source().strip() + "\n"


def standing() -> set[Path]:
    """The files that stand where generated ones do."""
    return {path for where in (REFERENCE, IMAGES, ROOT / "share") for path in where.rglob("*") if path.is_file()}


def main() -> int:
    """Write them, and remove those that nothing makes any more."""
    made = files()
    for path in standing() - made.keys():
        path.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
