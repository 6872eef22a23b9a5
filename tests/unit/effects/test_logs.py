"""Log lines for people and for programs."""

from __future__ import annotations

import io
import json

import pytest

from kproxy.effects.logs import REMEMBERED, Recurrence, make_logger


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, text: str) -> int:  # noqa: ARG002 - as io has it
        raise BrokenPipeError


def test_json_lines_carry_the_fields_and_utc_time() -> None:
    stream = io.StringIO()
    make_logger("auto", 0, stream).warning("object skipped", object="Service a/b", count=2, error=ValueError("x"))
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "object skipped", "level": "warning", "object": "Service a/b", "count": 2, "error": "x"}


def test_a_terminal_gets_text_with_colours_unless_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    make_logger("auto", 0, coloured).info("synced")
    monkeypatch.setenv("NO_COLOR", "1")
    make_logger("auto", 0, plain).info("synced", n=1)
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b" not in plain.getvalue()
    assert plain.getvalue().endswith("[info     ] synced n=1\n")


@pytest.mark.parametrize("value", ["a\nb", "\x1b[2J", "x\r", "\u202eevil", ValueError("a\nb")])
def test_no_value_can_make_a_second_line_or_drive_a_terminal(value: object) -> None:
    stream = io.StringIO()
    make_logger("text", 0, stream).info("event", name=value)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text[:-1].isprintable()


def test_details_are_for_those_who_ask() -> None:
    quiet, loud = io.StringIO(), io.StringIO()
    make_logger("json", 0, quiet).debug("detail")
    make_logger("json", 5, loud).debug("detail")
    assert quiet.getvalue() == ""
    assert json.loads(loud.getvalue())["level"] == "debug"


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    make_logger("json", 0, Closed()).error("gone")
    closed = io.StringIO()
    logger = make_logger("json", 0, closed)
    closed.close()
    logger.error("gone")


def test_a_traceback_is_in_the_line() -> None:
    stream = io.StringIO()
    logger = make_logger("json", 0, stream)
    try:
        raise ValueError("x")  # noqa: TRY301 - to have a traceback
    except ValueError:
        logger.exception("failed")
    assert "ValueError: x" in json.loads(stream.getvalue())["exception"]


def test_once_is_once_and_periods_are_kept() -> None:
    said = Recurrence()
    assert [said.is_due("a", now) for now in (0.0, 1.0, 1e9)] == [True, False, False]
    assert [said.is_due("b", now, every_s=60) for now in (0.0, 59.0, 60.0, 61.0)] == [True, False, True, False]


def test_what_was_said_is_forgotten_in_the_end() -> None:
    said = Recurrence()
    for number in range(REMEMBERED + 1):
        assert said.is_due(number, 0.0)
    assert said.is_due(0, 0.0)
    assert not said.is_due(REMEMBERED, 0.0)
