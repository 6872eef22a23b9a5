"""`kproxy lint`."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping

import click

from kproxy.cli.options import (
    BACKEND_OFFLINE,
    CONFIG,
    FAMILY,
    FILES,
    FURTHER,
    KUBECONFIG,
    SOURCE,
    asked,
)
from kproxy.cli.output import emit, note, width
from kproxy.cli.undecided import decided
from kproxy.cli.verbosity import verbose
from kproxy.cli.version import own_version
from kproxy.lint.catalogue import BY_CODE, CHECKS
from kproxy.lint.finding import Severity
from kproxy.lint.present import explanation, lines, plain, sarif, summary
from kproxy.report.layout import printable
from kproxy.wiring.lint import lint_asked, need_source
from kproxy.wiring.question import Asked

CLEAN, FOUND = 0, 1
NEVER = "never"
COLOURS: Mapping[Severity, str] = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
COLUMNS = 80
NODE = click.option(
    "--node",
    "--node-name",
    "node_name",
    default="",
    metavar="NAME",
    help="Only what this node meets; otherwise every Node that is known.",
)


def _explain(ctx: click.Context, _parameter: click.Parameter, code: str | None) -> None:
    """`--explain CODE`: what a check is about; `all` for every one."""
    if code is None:
        return
    if code.lower() == "all":
        chosen = CHECKS
    elif code.upper() in BY_CODE:
        chosen = (BY_CODE[code.upper()],)
    else:
        near = difflib.get_close_matches(code.upper(), BY_CODE, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `--explain all` lists every one"
        raise click.BadParameter(f"{code[:40]!r} is the code of no check{hint}")
    for number, check in enumerate(chosen):
        click.echo("\n" if number else "", nl=False)
        for part in explanation(check):
            click.echo(textwrap.fill(part, COLUMNS))
    ctx.exit()


def _fitted(line: str) -> list[str]:
    """A line folded to the terminal; whole where none is."""
    columns = width()
    if columns == float("inf"):
        return [line]
    indent = " " * (len(line) - len(line.lstrip(" →")))
    return textwrap.wrap(line, int(columns), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


@click.command()
@asked(FILES, FURTHER, SOURCE, KUBECONFIG, BACKEND_OFFLINE, CONFIG, NODE, FAMILY)
@click.option("--live", is_flag=True, help="Read the cluster of the kubeconfig instead of manifests.")
@click.option(
    "--fail-on",
    type=click.Choice([*map(str, Severity), NEVER]),
    default=str(Severity.WARNING),
    show_default=True,
    help="The mildest finding that makes the exit code 1.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "sarif"]),
    default="table",
    show_default=True,
    help="For people, for programs, or for a code host.",
)
@click.option(
    "--explain",
    metavar="CODE",
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Tell what a code means; all: every one.",
)
@verbose
def lint(question: Asked, live: bool, fail_on: str, output: str) -> int:
    """Find what is unsafe, broken or in vain in Services.

    Manifests are read, or with --live a cluster.

    Neither root nor, with -f, a cluster is needed. Each finding has a code, a severity, the object and field, what
    follows from it and a remedy; docs/lint.md has all codes. The annotation kproxy.io/lint-ignore: KPX014,KPX022 on an
    object silences them there.

    Exit code 0: nothing as bad as --fail-on; 1: something is; 2: a wrong option, path or configuration;
    4: the cluster could not be read.

    \b
    Examples:
      kproxy lint -f manifests/
      kproxy lint -f manifests/ --config config.yaml --fail-on error
      kproxy lint --live --node node-a -o json
      kproxy lint -f manifests/ -o sarif > kproxy.sarif
      kproxy lint --explain KPX010
    """  # noqa: D301 - click's mark for lines that stay as they are
    need_source(question, live=live)
    with decided():
        report, remarks = lint_asked(question, live=live)
    for remark in remarks:
        note(remark)
    if output == "sarif":
        emit(sarif(report, own_version()), "json")
    elif output in ("json", "yaml"):
        emit(plain(report), output)
    else:
        for severity, line in lines(report):
            indented = line.startswith(" ")
            for part in _fitted(printable(line)) if indented else (printable(line),):
                click.secho(part, fg=None if indented else COLOURS[severity])
        note(summary(report))
    return FOUND if report.fails_on(None if fail_on == NEVER else Severity(fail_on)) else CLEAN
