"""`kproxy conntrack …`: the table of connections, seen through Services; useful beside kube-proxy too."""

from __future__ import annotations

import click

from kproxy.cli.lazy import Commands, LazyGroup

COMMANDS: Commands = {
    "list": ("kproxy.cli.conntrack_list:list_flows", "List flows, with the Service that each belongs to."),
    "stats": ("kproxy.cli.conntrack_stats:stats", "Count flows by Service, endpoint, client and state."),
    "top": ("kproxy.cli.conntrack_top:top", "Watch the busiest Services live."),
    "watch": ("kproxy.cli.conntrack_watch:watch", "Follow flows as they begin, change and end."),
    "explain": ("kproxy.cli.conntrack_explain:explain", "Tell where one flow goes, and whether a new one would too."),
    "check": ("kproxy.cli.conntrack_check:check", "Find stale flows, dead endpoints and scarce room."),
    "flush": ("kproxy.cli.conntrack_flush:flush", "Delete stale or chosen flows, after showing them."),
}


@click.group(cls=LazyGroup, table=COMMANDS, subcommand_metavar="COMMAND …")
def conntrack() -> None:
    """Show, count, check and clean the kernel's table of connections.

    Flows are shown with plain addresses, or with the Services that they belong to where these are known: by -f,
    --source or --kubeconfig. Reading the table needs root (CAP_NET_ADMIN); nothing is changed but by `flush --yes`.

    \b
      kproxy conntrack stats
      kproxy conntrack list --source kubernetes --service shop/cart
      kproxy conntrack check -f manifests/
    """  # noqa: D301 - click's mark for lines that stay as they are
