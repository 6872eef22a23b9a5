"""kube-proxy's flags on our command line: taken as kube-proxy takes them, shown in no help.

`-v=2`, `-v 2` and `--v=2` are its verbosity; a bare `-v` is ours. A flag that is true or false may stand alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from kproxy.config.encode import encode
from kproxy.config.flags import FLAGS, Kind
from kproxy.errors import ConfigError
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
        master, target, cleans = (given.pop(name) for name in ("master", "write_config_to", "cleanup"))
        question = msgspec.structs.replace(question, flags=flags, master=master)
        if target:
            return write_config(question, target)
        if cleans:
            return click.get_current_context().invoke(_cleanup(), only_plan=False, kube_proxy=True)
        return function(question, **given)

    decorated: Callable[..., Any] = click.option("--master", default="", hidden=True)(command)
    decorated = click.option("--write-config-to", default="", hidden=True)(decorated)
    decorated = click.option("--cleanup", is_flag=True, hidden=True)(decorated)
    for name, flag in FLAGS.items():
        parameter = f"{PREFIX}{name.replace('-', '_')}"
        alone: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if flag.kind is Kind.FLAG else {}
        decorated = click.option(f"--{name}", parameter, hidden=True, **alone)(decorated)
    return decorated


def write_config(question: Asked, target: str) -> int:
    """Write what the command line comes to, defaults included, to a file; ConfigError if it cannot be."""
    import yaml  # noqa: PLC0415 - only for those who want it

    from kproxy.wiring.cluster import configured  # noqa: PLC0415 - likewise

    config, _ = configured(question)
    try:
        Path(target).write_text(yaml.safe_dump_all([encode(config.proxy), encode(config.own)], sort_keys=False))
    except OSError as error:
        raise ConfigError(f"--write-config-to {target}: {error.strerror}") from error
    return 0


def _cleanup() -> click.Command:
    from kproxy.cli.cleanup import cleanup  # noqa: PLC0415 - only for those who want it

    return cleanup
