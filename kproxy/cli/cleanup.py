"""`kproxy cleanup`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import click

from kproxy.cli.options import INSTANCE, asked
from kproxy.cli.output import note
from kproxy.cli.verbosity import verbose
from kproxy.core.instance import instance_named
from kproxy.effects.leftovers import Remains
from kproxy.errors import ApplyRejected, KproxyError
from kproxy.wiring.cleanup import all_remains, commands, need_rights
from kproxy.wiring.local import need_free, take_name
from kproxy.wiring.question import Asked


@click.command()
@asked(INSTANCE)
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be removed, and remove nothing.")
@click.option("--kube-proxy", is_flag=True, help="Also what kube-proxy left, in iptables, ipvs and nftables modes.")
@click.option("--keep-ours", is_flag=True, help="Leave kproxy's own rules in force; for a node that it has taken over.")
@verbose
def cleanup(question: Asked, only_plan: bool, kube_proxy: bool, keep_ours: bool) -> None:
    """Remove what kproxy left in this kernel. Needs root.

    First everything that is to go is printed, one line each, as the commands that would remove it, in their order.
    Rules, sets, links and virtual servers of anyone else are left alone, and so are sysctls. Services do not work
    afterwards until a proxy runs again. While an agent runs, both plan and removal are refused, for it would write its
    rules anew: end it first, or leave them out with --keep-ours. With --instance only that agent's own are meant,
    without it only those of the agent without a name.

    \b
    Examples:
      kproxy cleanup --plan
      kproxy cleanup --kube-proxy
      kproxy cleanup --kube-proxy --keep-ours
      kproxy cleanup --instance edge
    """  # noqa: D301 - click's mark for lines that stay as they are
    instance = instance_named(question.instance)
    need_rights()
    if not keep_ours:
        need_free(instance.local_name)
    remains = all_remains(ours=not keep_ours, kube_proxy=kube_proxy, instance=instance)
    lines = commands(remains)
    count = sum(line.split()[3:4] != ["-F"] for line in lines)
    for line in lines:
        click.echo(line)
    for one in remains:
        for line in one.kept():
            note(line)
    if not lines:
        note("nothing is left to remove")
    elif keep_ours and not only_plan:
        _remove(remains, count)
    elif not only_plan:
        with contextlib.closing(take_name(instance.local_name)):
            _remove(remains, count)


def _remove(remains: Sequence[Remains], count: int) -> None:
    """Remove all that can be; what one kind refuses does not keep the others."""
    refused: list[str] = []
    for one in remains:
        try:
            one.remove()
        except KproxyError as error:
            refused.append(str(error))
    left = commands(remains)
    if refused or left:
        raise ApplyRejected("; ".join(["not all is gone", *refused, *(f"left: {line}" for line in left[:10])]))
    note(f"removed: {count}")
