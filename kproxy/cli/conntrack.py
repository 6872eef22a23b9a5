"""`kproxy conntrack …`: the table of connections, seen through Services; useful beside kube-proxy too."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

COMMANDS: Mapping[str, tuple[str, str]] = {
    "list": ("kproxy.cli.conntrack_list:list_flows", "List flows, with the Service that each belongs to."),
    "stats": ("kproxy.cli.conntrack_stats:stats", "Count flows by Service, endpoint, client and state."),
    "top": ("kproxy.cli.conntrack_top:top", "Watch the busiest Services live."),
    "watch": ("kproxy.cli.conntrack_watch:watch", "Follow flows as they begin, change and end."),
    "explain": ("kproxy.cli.conntrack_explain:explain", "Tell where one flow goes, and whether a new one would too."),
    "check": ("kproxy.cli.conntrack_check:check", "Find stale flows, dead endpoints and scarce room."),
    "flush": ("kproxy.cli.conntrack_flush:flush", "Delete stale or chosen flows, after showing them."),
}
"""Where each command lives, and what the list of commands says about it."""


class LazyCommands(click.Group):
    """Imports the command that is wanted, and no other: each is to start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyCommands, subcommand_metavar="COMMAND …")
def conntrack() -> None:
    """Show, count, check and clean the kernel's table of connections.

    Flows are shown with plain addresses, or with the Services that they belong to where these are known: by -f,
    --source or --kubeconfig. Reading the table needs root (CAP_NET_ADMIN); nothing is changed but by `flush --yes`.

    \b
      kproxy conntrack stats
      kproxy conntrack list --source kubernetes --service shop/cart
      kproxy conntrack check -f manifests/
    """  # noqa: D301 - click's mark for lines that stay as they are
