"""The group of all commands, each imported when it is called or asked for its help."""

from __future__ import annotations

import os

import click

from kproxy.cli.lazy import Commands, LazyGroup
from kproxy.cli.verbosity import verbose

COMMANDS: Commands = {
    "run": ("kproxy.cli.run:run", "Run the agent: program this node and follow every change."),
    "status": ("kproxy.cli.status:status", "Ask this node's agent how it is."),
    "render": ("kproxy.cli.render:render", "Print the exact rules that a node would get."),
    "diff": ("kproxy.cli.diff:diff", "Show what run would change in this kernel now."),
    "audit": ("kproxy.cli.audit:audit", "Hold a running proxy's rules against the cluster."),
    "explain": ("kproxy.cli.explain:explain", "Tell what happens to a connection, rule by rule."),
    "services": ("kproxy.cli.services:services", "List Services as this node sees them."),
    "plan": ("kproxy.cli.services:plan", "Show each Service in full: who may come, who serves, why."),
    "migrate": ("kproxy.cli.migrate:migrate", "Tell what will differ when kproxy follows kube-proxy."),
    "lint": ("kproxy.cli.lint:lint", "Find what is unsafe, broken or in vain in Services."),
    "conntrack": ("kproxy.cli.conntrack:conntrack", "Show, count, check and clean the table of connections."),
    "cleanup": ("kproxy.cli.cleanup:cleanup", "Remove what kproxy, or kube-proxy, left in this kernel."),
    "doctor": ("kproxy.cli.doctor:doctor", "Look whether this machine can run kproxy."),
    "support-bundle": ("kproxy.cli.support_bundle:support_bundle", "Gather in one file what a helper needs."),
    "check-config": ("kproxy.cli.check_config:check_config", "Check a configuration file before it is rolled out."),
    "completion": ("kproxy.cli.completion:completion", "Print the completion script of a shell."),
    "version": ("kproxy.cli.version:version", "Print the version."),
}


def _version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    """`kproxy --version`, for those who expect it."""
    if asked:
        from kproxy.cli.version import version  # noqa: PLC0415 - only now

        ctx.invoke(version, output=None)
        ctx.exit()


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND …",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@verbose
@click.pass_context
def app(ctx: click.Context) -> None:
    """A Kubernetes service proxy for the node, with everything it does made visible.

    It turns Services and EndpointSlices into load balancing in the kernel, as kube-proxy does, and can show the rules
    before they exist, the difference to what stands in the kernel, and the way of a single connection through them.

    \b
    Try it with your own manifests; neither root nor a cluster is needed:
      kproxy services -f manifests/
      kproxy render --backend iptables -f manifests/
      kproxy explain -f manifests/ --flow '203.0.113.7,198.51.100.1:80/TCP'
    """  # noqa: D301 - click's mark for lines that stay as they are
    if os.environ.get("NO_COLOR"):
        ctx.color = False
