"""What people see on terminals of different widths: tables fit, and no address is torn."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import click
import pytest

from tests.fakes.program import COMMAND, TIMEOUT_S

SHOP = Path(__file__).parents[2] / "data" / "manifests" / "shop"
NARROW = ["--node-name", "node-a", "-f", str(SHOP)]


def seen(columns: int, *arguments: str) -> list[str]:
    """The lines that a terminal of so many columns gets, without its escape sequences."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen([*COMMAND, *arguments], stdout=theirs, env=environment) as process:
        os.close(theirs)
        text = b""
        while part := _read(ours):
            text += part
        assert process.wait(TIMEOUT_S) == 0
    os.close(ours)
    return click.unstyle(text.decode()).splitlines()


def _read(terminal: int) -> bytes:
    """What is there; nothing once the program has ended, which a terminal tells by EIO."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("form", [[], ["-o", "wide"]])
def test_a_table_of_services_keeps_every_word_whole(columns: int, form: list[str]) -> None:
    lines = seen(columns, "services", *NARROW, *form)
    words = {word.rstrip(",") for line in lines for word in line.split()}
    assert {"shop/cart", "LoadBalancer", "FRONTENDS", "10.96.0.10:80/TCP", "198.51.100.10:80/TCP"} <= words


@pytest.mark.parametrize("columns", [80, 200])
def test_a_table_is_no_wider_than_the_terminal(columns: int) -> None:
    assert max(map(len, seen(columns, "services", *NARROW))) <= columns
