"""`kproxy check-config`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kproxy.cli.output import emit, note, output_option
from kproxy.cli.verbosity import verbose
from kproxy.config import Config, read_config
from kproxy.config.check import findings
from kproxy.errors import ConfigError

FOUND = 1
STDIN = "-"


@click.command("check-config")
@click.argument("file", type=click.Path())
@output_option("json", "yaml")
@verbose
def check_config(file: str, output: str | None) -> int:
    """Check a configuration file as run would read it, and say what it leaves to be desired, with a remedy.

    FILE may be - for standard input. The exit code is 0 if there is nothing to say, 1 if there are findings, 2 if the
    file cannot be used.

    \b
    Examples:
      kproxy check-config /var/lib/kube-proxy/config.conf
      kproxy check-config examples/config.yaml -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    config, file = _read(file)
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


def _read(file: str) -> tuple[Config, str]:
    """The configuration, and what messages call its file: the argument itself, for no option has been given."""
    name = "standard input" if file == STDIN else file
    try:
        data = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return read_config(data.decode("utf-8-sig"), name), name
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}; give a file, or - for standard input") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: byte {error.start} is not UTF-8 text") from error
