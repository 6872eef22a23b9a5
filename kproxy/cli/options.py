"""Options that several commands share, gathered into one value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from kproxy.core.values import Family
from kproxy.wiring.question import KUBERNETES, Asked

F = TypeVar("F", bound=Callable[..., Any])

FAMILIES = {"ipv4": (Family.IPV4,), "ipv6": (Family.IPV6,), "both": (Family.IPV4, Family.IPV6)}

FILES = click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    metavar="FILE_OR_DIR",
    help="Manifests (YAML or JSON) to read Services from; - is standard input. Repeatable.",
)
SOURCE = click.option(
    "--source",
    default=KUBERNETES,
    show_default=True,
    metavar="kubernetes|DIR",
    help="Where Services come from: an API server, or a directory of manifests.",
)
CONFIG = click.option("--config", metavar="FILE", help="A KubeProxyConfiguration, as kube-proxy takes it.")
KUBECONFIG = click.option(
    "--kubeconfig", default="", metavar="FILE", help="Overrides the configuration's clientConnection.kubeconfig."
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
    "--backend", default="", metavar="NAME", help="Default: the configuration's mode, else the best this kernel can."
)
BACKEND_OFFLINE = click.option(
    "--backend",
    default="",
    metavar="NAME",
    help="iptables or nftables. Default: the configuration's mode, else nftables.",
)
SERVICE = click.option("--service", metavar="NAMESPACE/NAME", help="Only this Service.")

_FIELDS = {"files", "source", "config", "kubeconfig", "backend", "node_name", "node_ips", "family"}


def asked(*options: Callable[[F], F]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds these options to a command, which gets what they say as its first argument, an Asked."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**given: Any) -> Any:  # noqa: ANN401 - what click passes
            fields = {name: given.pop(name) for name in _FIELDS & given.keys()}
            if "family" in fields:
                fields["families"] = FAMILIES[fields.pop("family")]
            return function(Asked(**fields), **given)

        for option in reversed(options):
            command = option(command)
        return command

    return decorate
