"""`kproxy render`."""

from __future__ import annotations

import click

from kproxy.cli.options import (
    BACKEND_OFFLINE,
    CONFIG,
    FAMILY,
    FILES,
    FURTHER,
    INSTANCE,
    NODE_IP,
    NODE_NAME,
    SERVICE,
    asked,
)
from kproxy.cli.output import note
from kproxy.cli.verbosity import verbose
from kproxy.wiring.asked import look_into_whole, narrowed, service_key
from kproxy.wiring.offline import plan_families, plans_of
from kproxy.wiring.question import Asked


@click.command()
@asked(FILES, FURTHER, BACKEND_OFFLINE, INSTANCE, CONFIG, NODE_NAME, NODE_IP, FAMILY)
@SERVICE
@verbose
def render(question: Asked, service: str | None) -> None:
    """Print the exact rules that a node would get, as input for iptables-restore, nft, or ipvsadm and its company.

    With ipvs there are five texts, for sysctl, ipset, ipvsadm, iptables-restore and ip, each below a line that names
    its program. Neither root nor a cluster is needed. The node's addresses are those of --node-ip, of its Node object
    if the manifests have one, and loopback. With --service the rules are those of a node that has only this Service.

    \b
    Examples:
      kproxy render --backend iptables -f manifests/ --node-name node-a
      kproxy render --backend nftables -f manifests/ | nft -c -f -
      kproxy render --backend ipvs -f manifests/ --service shop/cart
      kubectl get svc,endpointslices,nodes -A -o yaml | kproxy render -f -
    """  # noqa: D301 - click's mark for lines that stay as they are
    if not question.files:
        raise click.UsageError("name manifests with -f FILE_OR_DIR (or - for standard input)")
    key = service_key(service) if service else None
    subject = look_into_whole(question)
    for remark in subject.remarks:
        note(remark)
    backend = subject.offline_backend(question)
    planned = plan_families(subject.offline_node(backend), backend, question.families)
    plans = narrowed(planned, key) if key else plans_of(planned)
    compiled = {family: backend.compile(plan, None) for family, plan in plans.items()}
    for left_out in dict.fromkeys(one for result in compiled.values() for one in result.unsupported):
        note(f"{left_out.what}: {left_out.instead}")
    click.echo(backend.render({family: result.document for family, result in compiled.items()}), nl=False)
