"""`kproxy audit`."""

from __future__ import annotations

import click

from kproxy.audit.report import lines, plain
from kproxy.cli.options import CONFIG, FAMILY, FILES, FURTHER, INSTANCE, KUBECONFIG, NODE_IP, NODE_NAME, SOURCE, asked
from kproxy.cli.output import emit, note
from kproxy.cli.undecided import decided
from kproxy.cli.verbosity import verbose
from kproxy.report.layout import printable
from kproxy.wiring.asked import look_into_whole
from kproxy.wiring.audit import audit_node
from kproxy.wiring.question import Asked

CLEAN, DIFFERENT = 0, 1


@click.command()
@asked(FILES, FURTHER, SOURCE, KUBECONFIG, INSTANCE, CONFIG, NODE_NAME, NODE_IP, FAMILY)
@click.option(
    "--proxy",
    type=click.Choice(["kproxy", "kube-proxy"]),
    default=None,
    help="Whose rules. Default: of both, whoever has any here.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="For people, or for programs, which get all of it.",
)
@verbose
def audit(question: Asked, proxy: str | None, output: str) -> int:
    """Hold a running proxy's rules against the cluster, Service by Service.

    Of kproxy every object is compared; of kube-proxy, in any of its modes, what each frontend does with a client that
    is neither a pod nor this node. Nothing is written: netlink messages and programs that could are refused before they
    are sent. Needs root, for the kernel lets nobody else read these rules.

    Exit code 0: all as it should be; 1: something differs; 2: a wrong option, configuration or manifest; 3: this
    machine lacks something; 4: it could not be found out.

    \b
    Examples:
      kproxy audit
      kproxy audit --proxy kube-proxy --config /var/lib/kube-proxy/config.conf
      kproxy audit -f manifests/ --node-name node-a -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    with decided():
        subject = look_into_whole(question)
        for remark in subject.remarks:
            note(remark)
        audits = audit_node(subject, question.families, proxy or "")
    if output != "table":
        emit([plain(one) for one in audits], output)
    else:
        for one in audits:
            for is_heading, line in lines(one):
                click.secho(printable(line), bold=is_heading)
    return CLEAN if all(one.is_clean for one in audits) else DIFFERENT
