"""`kproxy completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from kproxy.cli.session import COMPLETION_VARIABLE, PROGRAM
from kproxy.cli.verbosity import verbose
from kproxy.errors import KproxyError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@verbose
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  source <(kproxy completion bash)
    zsh:   source <(kproxy completion zsh)
    fish:  kproxy completion fish | source
    """  # noqa: D301 - click's mark for lines that stay as they are
    kind = get_completion_class(shell)
    if kind is None:
        raise KproxyError(f"this click has no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, COMPLETION_VARIABLE).source())
