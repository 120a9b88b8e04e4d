"""Options that several verbs share, so that they are spelled and explained alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from lepton_compiler.core.options import Dim
from lepton_compiler.targets.registry import TARGETS

Command = TypeVar("Command", bound=Callable[..., Any])

file_path = click.Path(path_type=Path)
"""A path; whether it exists and what it holds is checked where it is read, with a better message than click's."""

HTML_ENDINGS = (".html", ".htm")


class NumberRange(click.FloatRange):
    """A number between bounds. ``nan`` compares with none of them, so that click's own range lets it through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or click's error."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def given_options(names: Collection[str]) -> list[str]:
    """Those of the running verb's parameters ``names`` that the user typed, as users write them."""
    ctx = click.get_current_context()
    return [
        parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.name.upper()
        for parameter in ctx.command.params
        if parameter.name in names and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]


def check_ending(option: str, path: Path, endings: Sequence[str]) -> None:
    """Refuses a file that is not named for what an option writes into it.

    Raises:
        click.UsageError: Its name ends in none of ``endings``.
    """
    if path.suffix.lower() not in endings:
        raise click.UsageError(f"{option} writes a file that ends in {endings[0]}, and {path} does not")


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of targets for the shell, each with what it is."""
    known = {"native": "the best target that this machine runs"} | {s.name: s.description for s in TARGETS.values()}
    return [CompletionItem(name, help=text) for name, text in known.items() if name.startswith(incomplete)]


def target_option(command: Command) -> Command:
    """``--target``, completed by the shell."""
    return click.option(
        "--target",
        default="native",
        show_default=True,
        metavar="NAME",
        shell_complete=complete_target,
        help="Machine to compile for; `lepton targets` lists them.",
    )(command)


def format_option(command: Command) -> Command:
    """``--format table|json``."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table to look at, or one JSON document.",
    )(command)


def input_shapes_option(command: Command) -> Command:
    """``--input-shapes``, which may be given several times."""
    return click.option(
        "--input-shapes",
        multiple=True,
        metavar="SHAPES",
        help='Shapes of inputs: "x:[1,3,224,224] ids:[1,n]". A name keeps that dimension symbolic.',
    )(command)


def feed_options(command: Command) -> Command:
    """``--inputs``, ``--seed`` and ``--allow-nan``: where input tensors come from."""
    for option in (
        click.option("--allow-nan", is_flag=True, help="Accept NaN in the input file."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of random inputs."),
        click.option(
            "--inputs",
            "inputs_file",
            type=file_path,
            metavar="FILE.npz",
            help="Input tensors by name; else random.",
        ),
    ):
        command = option(command)
    return command


def threads_option(command: Command) -> Command:
    """``--threads``: one number."""
    return click.option(
        "--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads of one run; one a core if left out."
    )(command)


def parse_shapes(texts: Sequence[str]) -> Mapping[str, tuple[Dim, ...]]:
    """All ``--input-shapes`` together.

    Raises:
        InputError: A text is not of the form ``name:[dim,dim]``, or names an input twice.
    """
    if not texts:
        return {}
    from lepton_compiler.frontend.input_shapes import parse_input_shapes

    return parse_input_shapes(" ".join(texts))
