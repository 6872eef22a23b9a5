"""kube-proxy's flags on our command line: taken as kube-proxy takes them, shown in no help.

`-v=2`, `-v 2` and `--v=2` are its verbosity; a bare `-v` is ours. A flag that is true or false may stand alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click
import msgspec

from kproxy.config.flags import FLAGS, Kind
from kproxy.wiring.question import Asked

PREFIX = "kube_proxy_"


class KubeProxyCommand(click.Command):
    """A command whose `-v` may have a number."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """With `-v` and a number written as `--v`."""
        return super().parse_args(ctx, list(rewritten(args)))


def rewritten(args: list[str]) -> list[str]:
    """The arguments with `-v=2`, `-v2` and `-v 2` as `--v=2`."""
    result: list[str] = []
    for arg in args:
        if result and result[-1] == "-v" and arg.isdecimal():
            result[-1] = f"--v={arg}"
        elif arg.startswith("-v") and arg[2:].lstrip("=").isdecimal():
            result.append(f"--v={arg[2:].lstrip('=')}")
        else:
            result.append(arg)
    return result


def kube_proxy_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags to a command whose first argument is an Asked, which gets those that were given."""

    @functools.wraps(function)
    def command(question: Asked, **given: Any) -> Any:  # noqa: ANN401 - what click passes
        names = {f"{PREFIX}{name.replace('-', '_')}": name for name in FLAGS}
        texts = {name: given.pop(parameter) for parameter, name in names.items()}
        flags = {name: text for name, text in texts.items() if text is not None}
        master = given.pop("master")
        return function(msgspec.structs.replace(question, flags=flags, master=master), **given)

    decorated: Callable[..., Any] = click.option("--master", default="", hidden=True)(command)
    for name, flag in FLAGS.items():
        parameter = f"{PREFIX}{name.replace('-', '_')}"
        alone: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if flag.kind is Kind.FLAG else {}
        decorated = click.option(f"--{name}", parameter, hidden=True, **alone)(decorated)
    return decorated
