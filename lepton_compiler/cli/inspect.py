"""``lepton inspect``: what a model asks for, or what an artifact says of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from lepton_compiler.cli.graph_options import GRAPH_OPTIONS, graph_options
from lepton_compiler.cli.inspect_artifact import inspect_artifact
from lepton_compiler.cli.inspect_model import inspect_model_file
from lepton_compiler.cli.inspect_node import explain_node
from lepton_compiler.cli.model_argument import is_artifact
from lepton_compiler.cli.options import (
    feed_options,
    file_path,
    format_option,
    given_options,
    input_shapes_option,
    parse_shapes,
    target_option,
    threads_option,
)
from lepton_compiler.cli.rendering import progress
from lepton_compiler.core.options import CompileOptions


@click.command("inspect", short_help="Show what a model asks for, or what an artifact holds.")
@click.argument("model", type=file_path, metavar="MODEL")
@click.option("--operators", is_flag=True, help="ONNX file: list every node of every operator.")
@click.option("--why", "node", metavar="NODE", help="Show what each pass did or declined on a node of the model.")
@click.option("--kernels", is_flag=True, help="Artifact: list every kernel with its nodes and schedule.")
@click.option("--profile", is_flag=True, help="Artifact: run it and list kernels with their share of the time.")
@target_option
@input_shapes_option
@graph_options
@feed_options
@threads_option
@format_option
def command(
    model: Path,
    operators: bool,
    node: str | None,
    kernels: bool,
    profile: bool,
    target: str,
    input_shapes: tuple[str, ...],
    compilation: CompileOptions,
    inputs_file: Path | None,
    seed: int,
    allow_nan: bool,
    threads: int | None,
    output_format: str,
) -> None:
    """Shows what MODEL is: an ONNX file (inputs, operators and who converts each, parameters, multiply-accumulates,
    weights) or an artifact (its manifest, kernels and passes). An artifact's code runs under --profile only.

    \b
    Examples:
      lepton inspect model.onnx
      lepton inspect ocr.onnx --input-shapes "x:[1,3,48,320]" --operators
      lepton inspect model.so --profile --threads 1
      lepton inspect model.onnx --why /layer1/conv1/Conv
      lepton inspect model.onnx --why /layer1/conv1/Conv --precision bf16 --no-winograd
    """
    artifact = is_artifact(model)
    _check_options(artifact, node, profile=profile)
    if (profile or kernels) and not artifact:
        raise click.UsageError("--profile and --kernels need an artifact; compile the model first")
    if operators and artifact:
        raise click.UsageError("--operators needs an ONNX file; an artifact has kernels, which --kernels lists")
    if node is not None and (operators or kernels or profile):
        raise click.UsageError("--why shows one node; give it without --operators, --kernels and --profile")
    shapes = parse_shapes(input_shapes)
    as_json = output_format == "json"
    if node is not None:
        with progress("follow the node through the passes"):
            explanation = explain_node(model, node, replace(compilation, target=target, input_shapes=shapes))
        explanation.show(as_json)
    elif artifact:
        inspect_artifact(
            model,
            list_kernels=kernels,
            profile=profile,
            feed=(shapes, inputs_file, seed, allow_nan),
            threads=threads,
            as_json=as_json,
        )
    else:
        inspect_model_file(model, shapes, list_nodes=operators, as_json=as_json)


_RUN_OPTIONS = ("inputs_file", "seed", "allow_nan", "threads")
_COMPILE_OPTIONS = ("target", *GRAPH_OPTIONS)


def _check_options(artifact: bool, node: str | None, *, profile: bool) -> None:
    """Refuses options that would have no effect.

    Raises:
        UsageError: One was given; the message names all of them and what they are for.
    """
    if not profile and (unused := given_options(_RUN_OPTIONS)):
        raise click.UsageError(f"without --profile nothing is run: leave {', '.join(unused)} out")
    if artifact and not profile and given_options(("input_shapes",)):
        raise click.UsageError("an artifact has its shapes already: leave --input-shapes out, or give --profile")
    if not artifact and node is None and (unused := given_options(_COMPILE_OPTIONS)):
        raise click.UsageError(f"without --why no pass is run: leave {', '.join(unused)} out")
