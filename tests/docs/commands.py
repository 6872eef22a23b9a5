"""Every command as data: what its `--help` says, for the reference and the man pages."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass

import click

from kproxy.cli.app import app
from kproxy.cli.session import PROGRAM


@dataclass(frozen=True)
class Block:
    """A paragraph; a verbatim one keeps its lines."""

    text: str
    is_verbatim: bool


@dataclass(frozen=True)
class Command:
    """A command, or a group of them."""

    name: str
    """`kproxy conntrack list`."""
    summary: str
    """One sentence."""
    usage: str
    blocks: tuple[Block, ...]
    options: tuple[tuple[str, str], ...]
    """How an option is written, and what it does."""
    commands: tuple[tuple[str, str], ...]
    """The commands of a group, by name, each with one line."""


def commands() -> tuple[Command, ...]:
    """All of them, each group before its own."""
    os.environ.pop("COLUMNS", None)
    return tuple(_walk(app, None, PROGRAM))


def _walk(command: click.Command, parent: click.Context | None, name: str) -> Iterator[Command]:
    with click.Context(
        command, parent=parent, info_name=name, terminal_width=1000, help_option_names=["-h", "--help"]
    ) as context:
        inner = (
            [(one, command.get_command(context, one)) for one in command.list_commands(context)]
            if isinstance(command, click.Group)
            else []
        )
        blocks = tuple(_blocks(command.help or ""))
        yield Command(
            name=context.command_path,
            summary=blocks[0].text,
            usage=" ".join([context.command_path, *command.collect_usage_pieces(context)]),
            blocks=blocks,
            options=tuple(
                record for one in command.get_params(context) if (record := one.get_help_record(context)) and record[1]
            ),
            commands=tuple((one, (found.help or "").partition("\n")[0]) for one, found in inner if found),
        )
        for one, found in inner:
            if found is not None:
                yield from _walk(found, context, one)


def _blocks(text: str) -> Iterator[Block]:
    for part in inspect.cleandoc(text).split("\n\n"):
        if part.startswith("\b"):
            yield Block(part.removeprefix("\b").strip("\n"), is_verbatim=True)
        elif part.strip():
            yield Block(" ".join(part.split()), is_verbatim=False)
