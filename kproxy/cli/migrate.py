"""`kproxy migrate`."""

from __future__ import annotations

import textwrap

import click

from kproxy.cli.options import CONFIG, FAMILY, FILES, FURTHER, KUBECONFIG, NODE_IP, NODE_NAME, SOURCE, asked
from kproxy.cli.output import emit, note, width
from kproxy.cli.undecided import decided
from kproxy.cli.verbosity import verbose
from kproxy.core.leftovers import KUBE_PROXY
from kproxy.errors import ApplyRejected, ConfigError
from kproxy.report.layout import printable
from kproxy.report.migration import lines
from kproxy.report.migration import plain as plain_report
from kproxy.wiring.lint import need_source
from kproxy.wiring.migration import AUTO, TakeOver, migration
from kproxy.wiring.question import Asked

MODES = ("iptables", "ipvs", "nftables")
MAX_SHOWN = 10
COLUMNS = 80
DRAIN_S = 300


@click.command()
@asked(FILES, FURTHER, SOURCE, KUBECONFIG, CONFIG, NODE_NAME, NODE_IP, FAMILY)
@click.option("--plan", "only_plan", is_flag=True, help="Report what will differ, and the steps; write nothing.")
@click.option("--yes", "finish", is_flag=True, help="Remove kube-proxy's rules, once kproxy's read back as wanted.")
@click.option(
    "--from",
    "old",
    type=click.Choice([AUTO, *MODES]),
    default=AUTO,
    show_default=True,
    help="The backend or mode that programs the node now. auto: whose rules stand in this kernel (needs root).",
)
@click.option("--to", "new", type=click.Choice(MODES), help="Default: the configuration's mode, else nftables.")
@click.option(
    "--proxy",
    type=click.Choice(["kproxy", KUBE_PROXY.proxy]),
    help="Whose rules stand now. Default: whoever has any, with another --from than auto kube-proxy.",
)
@click.option("--live", is_flag=True, help="Read the cluster of the kubeconfig instead of manifests.")
@click.option(
    "--drain-timeout",
    type=click.IntRange(0),
    default=DRAIN_S,
    show_default=True,
    metavar="SECONDS",
    help="With --yes: how long connections of kube-proxy's ipvs mode may go on.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
@verbose
def migrate(  # noqa: PLR0913, PLR0917 - one for each option
    question: Asked,
    only_plan: bool,
    finish: bool,
    old: str,
    new: str | None,
    proxy: str | None,
    live: bool,
    drain_timeout: int,
    output: str,
) -> int:
    """Tell what will differ when kproxy follows kube-proxy or another backend; and take the last step.

    With --plan a report: what clients lose, meet otherwise or get anew, which Services, what to do about each, and
    the steps in order with their commands, there and back. Nothing is written.

    With --yes, on a node where kproxy runs beside kube-proxy's rules: kproxy's are read back and held against the
    cluster, as `kproxy audit` does; only if they are as they should be, kube-proxy's are removed. Needs root.

    Exit code 0: done, or reported; 1: kproxy's rules are not as they should be, or kube-proxy runs: nothing is
    removed; 2: a wrong option, manifest or configuration; 3: this machine lacks something; 4: it could not be found
    out, or not all could be removed.

    \b
    Examples:
      kproxy migrate --plan --live
      kproxy migrate --plan --from ipvs --to nftables -f manifests/ --node-name node-a
      kproxy migrate --plan --from iptables --proxy kproxy --to nftables -f manifests/ -o json
      kproxy migrate --yes --config /var/lib/kube-proxy/config.conf
    """  # noqa: D301 - click's mark for lines that stay as they are
    if only_plan == finish:
        raise ConfigError("say --plan for the report, or --yes to remove kube-proxy's rules")
    if finish:
        with decided():
            return _finish(question, drain_timeout)
    need_source(question, live=live)
    with decided():
        report, remarks = migration(question, old, new or "", proxy or "", here=live or old == AUTO)
    for remark in remarks:
        note(remark)
    if output != "table":
        emit(plain_report(report), output)
        return 0
    for is_heading, line in lines(report):
        for part in _fitted(printable(line)):
            click.secho(part, bold=is_heading)
    return 0


def _fitted(line: str) -> list[str]:
    """A line folded to the terminal, or to 80 columns where none is; commands stay whole."""
    start = len(line) - len(line.lstrip(" "))
    if line[start:].startswith("$ "):
        return [line]
    columns = width()
    return textwrap.wrap(
        line,
        COLUMNS if columns == float("inf") else int(columns),
        subsequent_indent=" " * max(start, 8),
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _finish(question: Asked, drain_s: int) -> int:
    """Remove kube-proxy's rules, if kproxy's are as they should be."""
    last = TakeOver(question)
    if running := last.still_running():
        note(f"{running[0]} runs here, and would write its rules anew: end it first")
        return 1
    if different := last.differences():
        for line in different[:MAX_SHOWN]:
            note(line)
        note(f"{len(different)} differences in kproxy's own rules: kube-proxy's stay; kproxy audit shows all")
        return 1
    for line in last.lines():
        click.echo(line)
    for line in last.kept():
        note(line)
    if left := last.wait(drain_s, lambda count: note(f"waiting for {count} connections of kube-proxy's ipvs mode")):
        note(f"{left} connections of kube-proxy's ipvs mode end now")
    if refused := last.remove():
        raise ApplyRejected("; ".join(["not all is gone", *refused[:MAX_SHOWN]]))
    note("kube-proxy's rules are removed, kproxy's are in force")
    return 0
