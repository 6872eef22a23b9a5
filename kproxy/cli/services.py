"""`kproxy services` and `kproxy plan`: the node's view of Services, short and in full."""

from __future__ import annotations

from collections.abc import Mapping

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
    SERVICE,
    SOURCE,
    asked,
)
from kproxy.cli.output import emit, heading, note, output_option, table
from kproxy.cli.verbosity import verbose
from kproxy.core.planner import Planned
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.errors import ConfigError
from kproxy.ports import Backend
from kproxy.report.details import node_lines, service_lines, unsupported_lines
from kproxy.report.services import (
    HEADINGS,
    WIDE_HEADINGS,
    ServiceView,
    plan_json,
    service_json,
    service_rows,
    view_services,
)
from kproxy.wiring.asked import look_into, service_key, unknown_service
from kproxy.wiring.offline import plan_families, plans_of, unsupported_by
from kproxy.wiring.question import Asked


class Seen(Value, frozen=True):
    """What a node makes of the Services that were asked for."""

    node: str
    backend: Backend
    plans: Mapping[Family, Planned]
    views: tuple[ServiceView, ...]
    only: ObjectKey | None
    """The Service that was asked for; None: all were."""
    code: int
    """The exit code: what can be read is shown, but a file that cannot is not passed over."""


@click.command()
@asked(FILES, FURTHER, SOURCE, KUBECONFIG, BACKEND_OFFLINE, INSTANCE, CONFIG, NODE_NAME, NODE_IP, FAMILY)
@SERVICE
@output_option("json", "yaml", "wide")
@verbose
def services(question: Asked, service: str | None, output: str | None) -> int:
    """List Services as this node sees them: frontends, endpoints in use of all there are, and what is unusual.

    \b
    Examples:
      kproxy services
      kproxy services -f manifests/ --node-name node-a -o wide
    """  # noqa: D301 - click's mark for lines that stay as they are
    seen = _see(question, service_key(service) if service else None)
    if output in ("json", "yaml"):
        emit([service_json(view) for view in seen.views], output)
    elif seen.views:
        wide = output == "wide"
        table(WIDE_HEADINGS if wide else HEADINGS, service_rows(seen.views, wide=wide))
    else:
        note("there are no Services for this node to serve")
    return seen.code


@click.command()
@asked(FILES, FURTHER, SOURCE, KUBECONFIG, BACKEND_OFFLINE, INSTANCE, CONFIG, NODE_NAME, NODE_IP, FAMILY)
@SERVICE
@output_option("json", "yaml")
@verbose
def plan(question: Asked, service: str | None, output: str | None) -> int:
    """Show each Service in full: who may come, where each client is sent, and why an endpoint is in or out.

    \b
    Examples:
      kproxy plan --service shop/cart
      kproxy plan -f manifests/ --node-name node-a --backend iptables -o json
    """  # noqa: D301 - click's mark for lines that stay as they are
    seen = _see(question, service_key(service) if service else None)
    plans = plans_of(seen.plans)
    unsupported = unsupported_by(plans, seen.backend, seen.only)
    if output:
        emit(plan_json(seen.node, seen.backend.name, seen.plans, seen.views, unsupported), output)
        return seen.code
    for line in node_lines(seen.node, seen.backend.name, plans):
        click.echo(line)
    for line in unsupported_lines(one for several in unsupported.values() for one in several):
        click.echo(line)
    for view in seen.views:
        first, *rest = service_lines(view)
        click.echo()
        heading(first)
        for line in rest:
            click.echo(line)
    if not seen.views:
        note("there are no Services for this node to serve")
    return seen.code


def _see(question: Asked, only: ObjectKey | None) -> Seen:
    subject = look_into(question)
    for remark in subject.remarks:
        note(remark)
    backend = subject.offline_backend(question)
    node = subject.offline_node(backend)
    plans = plan_families(node, backend, question.families)
    views = tuple(view_services(node.snapshot, plans, only))
    if only is not None and not views:
        known = {str(key) for planned in plans.values() for key in planned.plan.services}
        raise unknown_service(only, known)
    return Seen(node.host.node, backend, plans, views, only, ConfigError.exit_code if subject.faults else 0)
