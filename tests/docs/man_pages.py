"""Man pages from click: one for each command, in section 1. See man(7) for the words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.docs.commands import Block, Command, commands

ALSO = "https://kubernetes.io/docs/reference/networking/virtual-ips/"
FILES = (
    ("/var/lib/kube-proxy/config.conf", "where kubeadm puts kube-proxy's configuration, which kproxy takes as it is"),
    ("@kproxy", "abstract socket of a running agent: its lock, and where kproxy status asks"),
)
EXITS = (
    ("0", "done; for commands that look for something, nothing was found"),
    ("1", "something was found, or went wrong"),
    ("2", "a wrong option, configuration or manifest"),
    ("3", "this machine lacks something"),
)


def pages() -> Mapping[str, str]:
    """The pages by the names of their files, `kproxy-conntrack-list.1`."""
    found = commands()
    return {f"{one.name.replace(' ', '-')}.1": "\n".join(_page(one, found)) + "\n" for one in found}


def _page(command: Command, all_of_them: tuple[Command, ...]) -> Iterator[str]:
    name = command.name.replace(" ", "-")
    yield f'.TH "{_roff(name).upper()}" 1 "" "kproxy" "User Commands"'
    yield ".SH NAME"
    yield f"{_roff(name)} \\- {_roff(command.summary.rstrip('.'))}"
    yield ".SH SYNOPSIS"
    program, _, rest = command.usage.partition(" ")
    yield f".B {program}\n{_roff(rest)}"
    yield ".SH DESCRIPTION"
    for block in command.blocks:
        yield from _block(block)
    for title, rows in (("OPTIONS", command.options), ("COMMANDS", command.commands)):
        yield from _rows(title, rows)
    if command.name == all_of_them[0].name:
        yield from _rows("EXIT STATUS", EXITS)
        yield from _rows("FILES", FILES)
    yield ".SH SEE ALSO"
    yield _roff(", ".join([*_related(command, all_of_them), ALSO]))


def _rows(title: str, rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    if rows:
        yield f".SH {title}"
        for left, right in rows:
            yield f".TP\n.B {_roff(left)}\n{_roff(right)}"


def _block(block: Block) -> Iterator[str]:
    if block.is_verbatim:
        yield f".PP\n.nf\n{_roff(block.text)}\n.fi"
    else:
        yield f".PP\n{_roff(block.text)}"


def _related(command: Command, all_of_them: tuple[Command, ...]) -> Iterator[str]:
    """The group that it is in, and the commands of a group."""
    group = command.name.rpartition(" ")[0]
    for other in all_of_them:
        if other.name == group or other.name.rpartition(" ")[0] == command.name:
            yield f"{other.name.replace(' ', '-')}(1)"


def _roff(text: str) -> str:
    """Text in which troff sees nothing of its own: no requests, no escapes, and hyphens that can be searched for."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)
