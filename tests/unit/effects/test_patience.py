"""What takes long is told at a terminal, once, and nowhere else."""

from __future__ import annotations

import io

from kproxy.effects.patience import told_when_long

LONG_S = 300.0


class Terminal(io.StringIO):
    """Text, as a terminal would get it."""

    def isatty(self) -> bool:
        return True


def test_what_takes_long_is_told_once() -> None:
    screen = Terminal()
    with told_when_long("reading manifests", screen, quiet_s=0.0) as told:
        assert told.wait(60)
    assert screen.getvalue() == "kproxy: reading manifests, which takes a while …\n"


def test_what_ends_soon_is_not() -> None:
    screen = Terminal()
    with told_when_long("reading manifests", screen, quiet_s=LONG_S):
        pass
    assert screen.getvalue() == ""


def test_nothing_is_told_to_a_file() -> None:
    text = io.StringIO()
    with told_when_long("reading manifests", text, quiet_s=0.0) as told:
        assert not told.is_set()
    assert text.getvalue() == ""
