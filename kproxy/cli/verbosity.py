"""The option -v, which may stand before a command's name or after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kproxy.cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])


def verbose(function: F) -> F:
    """Adds -v to a command; every one counts, wherever it stands."""
    return click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_add,
        help="Say more; unexpected errors show their traceback.",
    )(function)


def _add(ctx: click.Context, _parameter: click.Parameter, count: int) -> None:
    ctx.ensure_object(Session).verbosity += count
