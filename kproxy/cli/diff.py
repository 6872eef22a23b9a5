"""`kproxy diff`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from kproxy.audit.own import comparable
from kproxy.cli.options import (
    BACKEND_LIVE,
    CONFIG,
    FAMILY,
    FILES,
    FURTHER,
    INSTANCE,
    KUBECONFIG,
    NODE_IP,
    NODE_NAME,
    SOURCE,
    asked,
)
from kproxy.cli.output import heading, note
from kproxy.cli.undecided import decided
from kproxy.cli.verbosity import verbose
from kproxy.core.document import diff as difference
from kproxy.report.changes import Mark, marked, summary
from kproxy.wiring.asked import look_into_whole
from kproxy.wiring.backends import choose, close_all, finder
from kproxy.wiring.offline import compile_families, plan_families, plans_of
from kproxy.wiring.question import Asked

SAME, DIFFERENT = 0, 1
COLOURS: Mapping[Mark, str | None] = {Mark.ADDED: "green", Mark.REMOVED: "red", Mark.CONTEXT: None}


@click.command()
@asked(FILES, FURTHER, SOURCE, KUBECONFIG, BACKEND_LIVE, INSTANCE, CONFIG, NODE_NAME, NODE_IP, FAMILY)
@verbose
def diff(question: Asked) -> int:
    """Show what run would change in this kernel now; nothing is changed. Needs root.

    IPVS's kernel parameters, time-outs and drain times are not compared: nothing in the kernel says that they are ours.

    Exit code 0: nothing would change; 1: something would; 2: a wrong option, configuration or manifest; 3: this machine
    lacks something; 4: it could not be found out.

    \b
    Examples:
      kproxy diff
      kproxy diff --backend iptables -f manifests/ --node-name node-a
    """  # noqa: D301 - click's mark for lines that stay as they are
    with decided():
        return _diff(question)


def _diff(question: Asked) -> int:
    subject = look_into_whole(question)
    for remark in subject.remarks:
        note(remark)
    chosen = choose(subject.backend_name(question), question.families, finder(subject.instance))
    try:
        for family, reason in chosen.missing.items():
            note(f"{family.label} is left out: {reason}")
        node = subject.live_node(chosen.backend)
        plans = plan_families(node, chosen.backend, tuple(chosen.kernels))
        wanted = compile_families(plans_of(plans), chosen.backend)
        changes = {
            family: comparable(family, difference(kernel.observe(), wanted[family]), chosen.backend)
            for family, kernel in chosen.kernels.items()
        }
    finally:
        close_all(chosen.kernels.values())
    for family, change in changes.items():
        if change:
            heading(f"{family.label}, {chosen.backend.name}: {summary(change)}")
            for mark, line in marked(chosen.backend.render_change(family, change)):
                click.secho(line, fg=COLOURS[mark])
    if any(changes.values()):
        return DIFFERENT
    note(f"nothing would change ({chosen.backend.name}, {', '.join(family.label for family in changes)})")
    return SAME
