"""The log: structlog's lines on standard error, for people on a terminal, JSON elsewhere.

Rules kept: no global state, a logger is made and handed on; what a cluster object says never reaches a terminal as
control characters; a log that cannot be written (a closed pipe) stops nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Hashable, MutableMapping
from typing import Any, TextIO

import structlog

FORMATS = ("auto", "text", "json")
LEVELS = (20, 10)
"""By verbosity: info, debug (and debug for any more)."""
REMEMBERED = 10_000

Logger = structlog.typing.FilteringBoundLogger


def make_logger(form: str, verbosity: int, stream: TextIO) -> Logger:
    """A logger that writes to `stream`; `auto` is text on a terminal and JSON elsewhere."""
    is_tty = stream.isatty()
    as_json = form == "json" or (form == "auto" and not is_tty)
    colours = is_tty and not os.environ.get("NO_COLOR")
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
    ]
    if as_json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        processors += [
            _printable,
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=_plain(), pad_event_to=0),
        ]
    logger: Logger = structlog.wrap_logger(
        structlog.PrintLogger(_Forgiving(stream)),  # type: ignore[arg-type] # it is written to and flushed, no more
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[min(verbosity, len(LEVELS) - 1)]),
    )
    return logger


def _plain() -> structlog.typing.ExceptionRenderer:
    return structlog.dev.plain_traceback


def _printable(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escapes control characters of values, so that a hostile name cannot drive a terminal."""
    for key, value in event.items():
        if not isinstance(value, int | float | tuple):
            text = str(value)
            event[key] = text if text.isprintable() else text.encode("unicode_escape").decode()
    return event


class _Forgiving:
    """A stream whose failures are nobody's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class Recurrence:
    """Remembers what was said, so that a thing is told once, or once in a while, however often it happens."""

    def __init__(self) -> None:
        self._said: OrderedDict[Hashable, float] = OrderedDict()

    def is_due(self, what: Hashable, now_s: float, every_s: float = float("inf")) -> bool:
        """Whether to tell it now: never told before, or `every_s` seconds ago. The oldest are forgotten in the end."""
        told = self._said.get(what)
        if told is not None and now_s - told < every_s:
            return False
        self._said[what] = now_s
        self._said.move_to_end(what)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return True
