"""Options that change what a model is compiled to: the same ones for every verb that compiles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from lepton_compiler.cli.model_argument import is_artifact
from lepton_compiler.cli.options import NumberRange, file_path, given_options
from lepton_compiler.core.options import PRECISIONS, CompileOptions

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--disable-pass",
        "disabled_passes",
        multiple=True,
        metavar="PASS",
        help="Leave an optional pass out; `lepton passes` lists them. May be repeated.",
    ),
    click.option("--no-winograd", is_flag=True, help="Compute every convolution directly."),
    click.option(
        "--max-winograd-error",
        type=NumberRange(min=0),
        default=CompileOptions.max_winograd_error,
        show_default=True,
        metavar="SHARE",
        help="Largest error that Winograd's algorithms may be estimated to cause, as a share of a convolution's range.",
    ),
    click.option("--no-merge-products", is_flag=True, help="Compute every matrix product by itself."),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=CompileOptions.precision,
        show_default=True,
        help="Operands of products: bf16 rounds them and what is stored between; mixed rounds operands alone.",
    ),
    click.option(
        "--keep-fp32",
        multiple=True,
        metavar="NODE",
        help="A product that stays float32: name of a node, also with *, or first, or last. May be repeated.",
    ),
)

_TUNING_LOG = click.option(
    "--tuning-log",
    "tuning_logs",
    multiple=True,
    type=file_path,
    metavar="PATH",
    help="Tuning logs, files or folders, whose knobs replace the defaults. May be repeated.",
)

GRAPH_OPTIONS = (
    "disabled_passes",
    "no_winograd",
    "max_winograd_error",
    "no_merge_products",
    "precision",
    "keep_fp32",
    "tuning_logs",
)
"""Their parameters."""


def graph_options(command: Command) -> Command:
    """``--disable-pass``, those of Winograd and of merged products, of precision, and ``--tuning-log``.

    The verb gets them as ``compilation``, options without target and input shapes, and none that would be ignored: that
    is refused here, ``--target`` included.
    """
    return _with_options(command, (*_OPTIONS, _TUNING_LOG))


def untuned_graph_options(command: Command) -> Command:
    """The same without ``--tuning-log``, for the verb that makes the logs."""
    return _with_options(command, _OPTIONS)


def _with_options(command: Command, options: Sequence[Callable[[Any], Any]]) -> Command:
    @functools.wraps(command)
    def with_options(
        *args: Any,
        disabled_passes: tuple[str, ...],
        no_winograd: bool,
        max_winograd_error: float,
        no_merge_products: bool,
        precision: str,
        keep_fp32: tuple[str, ...],
        tuning_logs: tuple[Path, ...] = (),
        **others: Any,
    ) -> Any:
        compilation = CompileOptions(
            disabled_passes=disabled_passes,
            winograd=not no_winograd,
            max_winograd_error=max_winograd_error,
            merge_products=not no_merge_products,
            precision=precision,
            keep_fp32=keep_fp32,
            tuning_logs=tuning_logs,
        )
        # Without a model, which a verb may do without, that verb refuses the options, whatever they say.
        if others.get("model") is not None:
            _check_not_compiled(others["model"])
            _check_effect(compilation)
        return command(*args, compilation=compilation, **others)

    for option in reversed(options):
        with_options = option(with_options)
    return with_options  # pyright: ignore[reportReturnType] (click calls it with the options, whatever the verb takes)


def _check_not_compiled(model: Path) -> None:
    """Refuses all of them, and a target, for a model that is compiled.

    Raises:
        UsageError: One was given; the message names all of them.
    """
    ignored = given_options((*GRAPH_OPTIONS, "target"))
    if ignored and is_artifact(model):
        raise click.UsageError(f"{model} is compiled already: leave {', '.join(ignored)} out, or give its ONNX file")


def _check_effect(compilation: CompileOptions) -> None:
    """Refuses what another option leaves without an effect or contradicts, before anything is read.

    Raises:
        UsageError: It was given.
    """
    contradiction = compilation.contradiction()
    if contradiction is not None:
        raise click.UsageError(contradiction)
    if compilation.precision == "fp32" and given_options(("keep_fp32",)):
        raise click.UsageError(
            "--keep-fp32 names products that stay float32, and with --precision fp32 all do: give --precision bf16 or "
            "mixed, or leave --keep-fp32 out"
        )
    if not compilation.winograd and given_options(("max_winograd_error",)):
        raise click.UsageError(
            "--no-winograd leaves no error for --max-winograd-error to bound: leave one of the two out"
        )
