"""The reference of the command line, from click itself."""

from __future__ import annotations

from collections.abc import Iterator

from kproxy.config.flags import FLAGS
from tests.docs.commands import Block, Command, commands

HEAD = """\
# Command line

What `kproxy COMMAND --help` says, on one page. Errors are one sentence on standard error. Exit codes: 0 done;
1 something was found, or went wrong; 2 a wrong option, configuration or manifest; 3 this machine lacks something.
"""
FLAGS_HEAD = """\
## kube-proxy's flags

`kproxy run` takes these too, with kube-proxy's meaning and precedence, though its help does not list them:
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD, *("\n".join(_command(one)) + "\n" for one in commands())]
    flags = ", ".join(f"`--{name}`" for name in sorted([*FLAGS, "cleanup", "master", "write-config-to"]))
    return "\n".join([*parts, f"{FLAGS_HEAD}\n{flags}.\n"])


def _command(command: Command) -> Iterator[str]:
    yield f"{'##' if command.name.count(' ') < 2 else '###'} {command.name}"
    yield ""
    yield f"```text\n{command.usage}\n```"
    for block in command.blocks:
        yield ""
        yield _block(block)
    for title, rows in (("command", command.commands), ("option", command.options)):
        if rows:
            yield ""
            yield f"| {title} | |\n|---|---|"
            yield from (f"| `{_cell(left)}` | {_cell(right)} |" for left, right in rows)


def _block(block: Block) -> str:
    if not block.is_verbatim:
        return escaped(block.text)
    first, _, rest = block.text.partition("\n")
    if first.endswith(":") and rest:
        lines = "\n".join(line.removeprefix("  ") for line in rest.splitlines())
        return f"{first}\n\n```text\n{lines}\n```"
    return f"```text\n{block.text}\n```"


def escaped(text: str) -> str:
    """Text in which Markdown sees nothing of its own."""
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
