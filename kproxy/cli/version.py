"""`kproxy version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import click

from kproxy.cli.output import emit, output_option
from kproxy.cli.verbosity import verbose


@click.command()
@output_option("json", "yaml")
@verbose
def version(output: str | None) -> None:
    """Print the version of kproxy, and what it runs on."""
    own = own_version()
    facts = {"kproxy": own, "python": platform.python_version(), "kernel": platform.release()}
    if output:
        emit(facts, output)
    else:
        click.echo(f"kproxy {own} (Python {facts['python']}, kernel {facts['kernel']})")


def own_version() -> str:
    """The version that is installed."""
    try:
        return installed_version("kproxy")
    except PackageNotFoundError:
        return "unknown (not installed)"
