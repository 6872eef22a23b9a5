"""`kproxy explain`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from kproxy.cli.options import (
    BACKEND_OFFLINE,
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
from kproxy.cli.output import emit, heading, note, output_option, table, width
from kproxy.cli.verbosity import verbose
from kproxy.core.flow import Packet, Trace
from kproxy.core.values import family_of
from kproxy.errors import ConfigError
from kproxy.report.flows import choice_rows, flow_json, flow_text, parse_flow, step_rows, verdict_text
from kproxy.report.layout import aligned, printable
from kproxy.wiring.asked import Subject, look_into
from kproxy.wiring.backends import choose, close_all, finder
from kproxy.wiring.offline import Explained, compile_families, plan_families, plans_of
from kproxy.wiring.offline import explain as walk
from kproxy.wiring.question import Asked

AGREE, DISAGREE = 0, 1


@click.command()
@asked(FILES, FURTHER, SOURCE, KUBECONFIG, BACKEND_OFFLINE, INSTANCE, CONFIG, NODE_NAME, NODE_IP, FAMILY)
@click.option(
    "--flow",
    "flows",
    multiple=True,
    required=True,
    metavar="FROM,TO:PORT/PROTO",
    help="A connection: 203.0.113.7,198.51.100.1:80/TCP or [fd00::7],[fd00::1]:53/UDP. Repeatable.",
)
@click.option("--from-interface", metavar="NAME", help="The interface it arrives by, for interface-based detection.")
@click.option("--live", is_flag=True, help="Services from the cluster (or -f), rules from this kernel. Needs root.")
@output_option("json", "yaml")
@verbose
def explain(question: Asked, flows: Sequence[str], from_interface: str | None, live: bool, output: str | None) -> int:
    """Tell what happens to a new connection on this node: verdict, endpoints, masquerade, and every rule on its way.

    The compiled rules are walked, not the plan; if the plan says something else, that is told and the exit code is 1.
    Without --live neither root nor a cluster is needed: the node's addresses are those of --node-ip, of its Node object
    if the manifests have one, and loopback.

    \b
    Examples:
      kproxy explain -f manifests/ --flow '203.0.113.7,198.51.100.1:80/TCP'
      kproxy explain -f manifests/ --flow '[fd00::7],[fd00::1]:53/UDP' -o json
      kproxy explain --live --flow '10.64.1.10,10.96.0.10:53/UDP'
    """  # noqa: D301 - click's mark for lines that stay as they are
    packets = [parse_flow(flow, from_interface) for flow in flows]
    if not (question.files or live) and question.source == "kubernetes":
        raise click.UsageError("name manifests with -f FILE_OR_DIR, or read cluster and kernel with --live")
    subject = look_into(question)
    for remark in subject.remarks:
        note(remark)
    told = _live(question, subject, packets) if live else _offline(question, subject, packets)
    if output:
        emit([flow_json(one.packet, one.trace) for one in told], output)
    for number, one in enumerate(told):
        if not output:
            _tell(one, first=number == 0)
        if not one.agree:
            note(f"{flow_text(one.packet)}: THE RULES DISAGREE WITH THE PLAN, which says {verdict_text(one.planned)}")
    if subject.faults:
        return ConfigError.exit_code
    return AGREE if all(one.agree for one in told) else DISAGREE


def _offline(question: Asked, subject: Subject, packets: Sequence[Packet]) -> list[Explained]:
    backend = subject.offline_backend(question)
    node = subject.offline_node(backend)
    plans = plans_of(plan_families(node, backend, question.families))
    return walk(packets, plans, compile_families(plans, backend), backend, node.host)


def _live(question: Asked, subject: Subject, packets: Sequence[Packet]) -> list[Explained]:
    families = sorted({family_of(packet.destination) for packet in packets} & set(question.families))
    chosen = choose(subject.backend_name(question), families or question.families, finder(subject.instance))
    try:
        documents = {family: kernel.observe() for family, kernel in chosen.kernels.items()}
    finally:
        close_all(chosen.kernels.values())
    for family, document in documents.items():
        if not any(document.values()):
            note(f"this kernel has no {family.label} rules of kproxy's {chosen.backend.name} backend")
    node = subject.live_node(chosen.backend)
    plans = plans_of(plan_families(node, chosen.backend, tuple(documents)))
    return walk(packets, plans, documents, chosen.backend, node.host)


def _tell(one: Explained, *, first: bool) -> None:
    answer = one.trace.answer
    if not first:
        click.echo()
    heading(flow_text(one.packet))
    click.echo(f"  {verdict_text(answer)}{_kept_text(one)}")
    if answer.choices:
        click.echo()
        table(("ENDPOINT", "PROBABILITY", "SEES"), choice_rows(answer))
    click.echo()
    _tell_steps(one.trace)


def _kept_text(one: Explained) -> str:
    return f", the pod's address is kept: {one.kept}" if one.kept else ""


def _tell_steps(trace: Trace) -> None:
    """A row per step, or, where a terminal is too narrow for that, a few lines each: rules are not torn apart."""
    lines = list(aligned(("STEP", "WHERE", "RULE", "EFFECT"), step_rows(trace)))
    if max(map(len, lines)) <= width():
        for line in lines:
            click.echo(line)
        return
    for number, place, rule, effect in step_rows(trace):
        for line in (f"{number:>3}. {printable(place)}", f"     {printable(rule)}", f"       → {printable(effect)}"):
            click.echo(line)
