"""``lepton completion``: the script that teaches a shell to complete verbs, options and targets."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from lepton_compiler.core.errors import InternalError

_COMPLETE_VARIABLE = "_LEPTON_COMPLETE"


@click.command("completion", short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Prints the completion script for SHELL.

    \b
    Examples:
      lepton completion bash > ~/.local/share/bash-completion/completions/lepton
      lepton completion zsh > "${fpath[1]}/_lepton"
      lepton completion fish > ~/.config/fish/completions/lepton.fish
    """
    completer = get_completion_class(shell)
    if completer is None:
        raise InternalError(f"click knows no completion for {shell}")
    root = ctx.find_root()
    # The template alone: click's source() would first start a bash of this machine to look at its version.
    instance = completer(root.command, {}, "lepton", _COMPLETE_VARIABLE)
    click.echo(instance.source_template % instance.source_vars())
