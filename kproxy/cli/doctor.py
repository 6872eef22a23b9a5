"""`kproxy doctor`."""

from __future__ import annotations

import click

from kproxy.cli.options import BACKEND_LIVE, CONFIG, INSTANCE, KUBECONFIG, NODE_NAME, asked
from kproxy.cli.output import emit, note, width
from kproxy.cli.verbosity import verbose
from kproxy.core.doctor import Status, judge
from kproxy.report.doctor import checks_object, lines, summary
from kproxy.wiring.doctor import gather
from kproxy.wiring.question import Asked

FAILED = 1
COLOURS = {Status.FAILURE: "red", Status.WARNING: "yellow"}


@click.command()
@asked(KUBECONFIG, BACKEND_LIVE, INSTANCE, CONFIG, NODE_NAME)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="The form."
)
@verbose
def doctor(question: Asked, output: str) -> int:
    """Look whether this machine can run kproxy, and what stands in its way; each finding comes with a remedy.

    Backends by their own probes, programs, capabilities, other proxies and what they left, kernel parameters, the table
    of connections, the configuration file, the node's name, taken ports; with a kubeconfig the API server too. Nothing
    is changed. Without root it says what it could not look at. The exit code is 1 if anything is a failure.

    \b
    Examples:
      kproxy doctor
      kproxy doctor --config /var/lib/kube-proxy/config.conf
      kproxy doctor -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    facts = gather(question)
    checks = judge(facts)
    if output == "table":
        for status, line in lines(checks, width()):
            click.secho(line, fg=COLOURS.get(status))
        note(summary(checks))
    else:
        emit(checks_object(facts, checks), output)
    return FAILED if any(one.status is Status.FAILURE for one in checks) else 0
