"""Options that several commands share, gathered into one value."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from kproxy.core.values import Family
from kproxy.wiring.question import BACKENDS, KUBERNETES, Asked

F = TypeVar("F", bound=Callable[..., Any])

FAMILIES = {"ipv4": (Family.IPV4,), "ipv6": (Family.IPV6,), "both": (Family.IPV4, Family.IPV6)}


def _backends(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Words for a shell that completes the name of a backend."""
    from kproxy.wiring.backends import backend_names  # noqa: PLC0415 - only when a shell asks

    return [name for name in backend_names() if name.startswith(begun)]


FILES = click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(),
    metavar="FILE_OR_DIR",
    help="Manifests (YAML or JSON) to read Services from; - is standard input. Repeatable.",
)
FURTHER = click.argument("further", nargs=-1, type=click.Path(), metavar="[-f FILE_OR_DIR…]")
"""What a shell's `-f *.yaml` leaves behind the first file; more of FILES."""
SOURCE = click.option(
    "--source",
    default=KUBERNETES,
    show_default=True,
    type=click.Path(file_okay=False),
    metavar="kubernetes|DIR",
    help="Where Services come from: an API server, or a directory of manifests.",
)
CONFIG = click.option(
    "--config", type=click.Path(), metavar="FILE", help="A KubeProxyConfiguration, as kube-proxy takes it."
)
KUBECONFIG = click.option(
    "--kubeconfig",
    default="",
    type=click.Path(),
    metavar="FILE",
    help="Overrides the configuration's clientConnection.kubeconfig.",
)
NODE_NAME = click.option(
    "--node-name", default="", metavar="NAME", help="Default: hostnameOverride, else this machine's hostname."
)
NODE_IP = click.option(
    "--node-ip",
    "node_ips",
    multiple=True,
    metavar="IP",
    help="The node's primary address; once per family. Default: bindAddress, else the Node object's.",
)
FAMILY = click.option(
    "--family", type=click.Choice(list(FAMILIES)), default="both", show_default=True, help="Which IP family."
)
BACKEND_LIVE = click.option(
    "--backend",
    default="",
    shell_complete=_backends,
    metavar="NAME",
    help="Default: the configuration's mode, else the best this kernel can.",
)
BACKEND_OFFLINE = click.option(
    "--backend",
    default="",
    shell_complete=_backends,
    metavar="NAME",
    help=f"{', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}. Default: the configuration's mode, else {BACKENDS[0]}.",
)
INSTANCE = click.option(
    "--instance",
    default="",
    metavar="NAME",
    help="The agent for Services whose label service-proxy-name is NAME. Default: the configuration's, else without.",
)
SERVICE = click.option("--service", metavar="NAMESPACE/NAME", help="Only this Service.")

_FIELDS = {"files", "source", "config", "kubeconfig", "backend", "instance", "node_name", "node_ips", "family"}


def asked(*options: Callable[[F], F]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds these options to a command, which gets what they say as its first argument, an Asked."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**given: Any) -> Any:  # noqa: ANN401 - what click passes
            fields = {name: given.pop(name) for name in _FIELDS & given.keys()}
            if further := given.pop("further", ()):
                fields["files"] = _all_files(fields["files"], further)
            if fields.get("files"):
                _need_one_source(click.get_current_context())
                fields["files"] = _each_once(fields["files"])
            if "family" in fields:
                fields["families"] = FAMILIES[fields.pop("family")]
            return function(Asked(**fields), **given)

        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _all_files(named: tuple[str, ...], further: tuple[str, ...]) -> tuple[str, ...]:
    """The files of `-f a b c`; without an -f in front a bare word was meant as something else."""
    if not named:
        raise click.UsageError(f"{further[0]!r} stands alone: manifests are named with -f FILE_OR_DIR …")
    return (*named, *further)


def _need_one_source(ctx: click.Context) -> None:
    """Nothing that is named is left out in silence."""
    if ctx.get_parameter_source("source") is ParameterSource.COMMANDLINE:
        raise click.UsageError("-f and --source both say where Services come from: take one of them")


def _each_once(files: tuple[str, ...]) -> tuple[str, ...]:
    """A file that is named twice, by whatever path, is read once."""
    first: dict[str, str] = {}
    for path in files:
        first.setdefault(path if path == "-" else os.path.realpath(path), path)
    return tuple(first.values())


class FiniteRange(click.FloatRange):
    """A number within limits; `nan` compares with none and `inf` never comes, so neither is one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        """The number; click's error for anything else."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number
