"""`kproxy check-config`."""

from __future__ import annotations

import click

from kproxy.cli.output import emit, note, output_option
from kproxy.cli.verbosity import verbose
from kproxy.config.check import findings
from kproxy.wiring.cluster import load_config

FOUND = 1


@click.command("check-config")
@click.argument("file")
@output_option("json", "yaml")
@verbose
def check_config(file: str, output: str | None) -> int:
    """Check a configuration file as run would read it, and say what it leaves to be desired, with a remedy.

    The exit code is 0 if there is nothing to say, 1 if there are findings, 2 if the file cannot be used.

    \b
    Examples:
      kproxy check-config /var/lib/kube-proxy/config.conf
      kproxy check-config examples/config.yaml -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    config = load_config(file)
    found = findings(config)
    if output:
        warnings = [{"field": "", "text": warning, "remedy": ""} for warning in config.warnings]
        listed = [{"field": one.field, "text": one.text, "remedy": one.remedy} for one in found]
        emit([*warnings, *listed], output)
    else:
        for line in (*config.warnings, *(f"{file}: {finding}" for finding in found)):
            click.echo(line)
        if not (found or config.warnings):
            note(f"{file}: nothing to say")
    return FOUND if found or config.warnings else 0
