"""What a person sees: tables fitted to the terminal, colours unless they are not wanted, rules in one piece."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.fakes.program import COMMAND

MANIFESTS = Path(__file__).parents[2] / "data" / "manifests"
SHOP = ("-f", str(MANIFESTS / "shop"), "--config", str(MANIFESTS / "config.yaml"), "--node-name", "node-a")
OUTSIDE = ("--backend", "iptables", "--flow", "203.0.113.7,198.51.100.10:80/TCP")


def seen(columns: int, *arguments: str, **environment: str) -> str:
    """What a run shows on a terminal of this width."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES", "TERM")}
    env = {**kept, "TERM": "xterm-256color", **environment}
    with subprocess.Popen([*COMMAND, *arguments], stdout=terminal, stderr=terminal, env=env):
        os.close(terminal)
        text = b""
        while piece := _read(controller):
            text += piece
    os.close(controller)
    return text.decode().replace("\r\n", "\n")


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:  # Linux says EIO when the last writer has gone
        return b""


def test_a_table_is_as_wide_as_the_terminal_and_loses_nothing() -> None:
    text = seen(80, "services", *SHOP, NO_COLOR="1")
    assert max(map(len, text.splitlines())) <= 80
    assert "198.51.100.10" in text
    assert "\x1b" not in text


def test_a_wide_terminal_has_each_service_in_one_line() -> None:
    lines = seen(200, "services", *SHOP, NO_COLOR="1").splitlines()
    assert len(lines) == 4
    assert "10.96.0.10:80/TCP, 198.51.100.10:80/TCP, NodePort 30080/TCP" in lines[1]


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("form", [(), ("-o", "wide")])
def test_no_width_tears_an_address_or_a_word(columns: int, form: tuple[str, ...]) -> None:
    words = {word.rstrip(",") for word in seen(columns, "services", *SHOP, *form, NO_COLOR="1").split()}
    assert {"shop/cart", "LoadBalancer", "FRONTENDS", "10.96.0.10:80/TCP", "198.51.100.10:80/TCP"} <= words


@pytest.mark.parametrize("command", [("services", *SHOP), ("explain", *SHOP, *OUTSIDE), ("plan", *SHOP)])
def test_headings_stand_out_unless_colours_are_not_wanted(command: tuple[str, ...]) -> None:
    assert "\x1b[1m" in seen(100, *command)
    assert "\x1b" not in seen(100, *command, NO_COLOR="1")


def test_rules_stay_in_one_piece_on_a_narrow_terminal() -> None:
    rule = "-p tcp -j DNAT --to-destination 10.64.1.10:8080"
    narrow, wide = (seen(columns, "explain", *SHOP, *OUTSIDE, NO_COLOR="1").splitlines() for columns in (80, 250))
    assert f"     {rule}" in narrow
    assert any(line.startswith("STEP") for line in wide)
    assert any(rule in line and "DNAT to 10.64.1.10:8080" in line for line in wide)
