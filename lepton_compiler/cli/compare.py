"""``lepton compare``: outputs beside those of ONNX Runtime."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lepton_compiler.cli.graph_options import graph_options
from lepton_compiler.cli.model_argument import as_artifact, is_artifact, make_feed
from lepton_compiler.cli.options import (
    feed_options,
    file_path,
    format_option,
    input_shapes_option,
    parse_shapes,
    threads_option,
)
from lepton_compiler.cli.rendering import progress, shape_text, show_json, show_table, warn
from lepton_compiler.core.errors import ModelError, UserError
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation.tolerances import TOLERANCES, Tolerance, tolerance_of

if TYPE_CHECKING:
    from lepton_compiler.core.manifest import Manifest
    from lepton_compiler.evaluation.comparison import OutputComparison

EXIT_DISAGREES = 1

_TOLERANCE_TABLE = "\n".join(
    f"  {t.name:<7} max abs {t.max_abs_of_range:g} of the output's range"
    + (f", cosine {t.min_cosine}" if t.min_cosine else "")
    + f": {t.purpose}"
    for t in TOLERANCES.values()
)


@click.command(
    "compare",
    short_help="Compare a model's outputs with ONNX Runtime's.",
    help=f"""Runs MODEL and ONNX Runtime on the same inputs and compares every output.

    MODEL is an artifact, followed by the ONNX file that it was compiled from as REFERENCE.onnx, or an ONNX file alone,
    which is compiled first. Ends with exit code 1 where an output disagrees.

    \b
    Tolerances:
    {_TOLERANCE_TABLE.replace(chr(10), chr(10) + "    ")}

    \b
    Examples:
      lepton compare model.onnx
      lepton compare model.so model.onnx --inputs in.npz --tolerance strict
      lepton compare ocr.onnx --input-shapes "x:[1,3,48,320]" --format json
    """,
)
@click.argument("model", type=file_path, metavar="MODEL")
@click.argument("reference", type=file_path, required=False, metavar="[REFERENCE.onnx]")
@click.option(
    "--tolerance",
    type=click.Choice(list(TOLERANCES)),
    help="How near an output must be. If left out, fp32, or loose for a model of a lower precision.",
)
@feed_options
@input_shapes_option
@graph_options
@threads_option
@format_option
def command(
    model: Path,
    reference: Path | None,
    tolerance: str | None,
    inputs_file: Path | None,
    seed: int,
    allow_nan: bool,
    input_shapes: tuple[str, ...],
    compilation: CompileOptions,
    threads: int | None,
    output_format: str,
) -> None:
    """Compares a model's outputs with ONNX Runtime's; the decorator above has the help text."""
    from lepton_compiler.evaluation.comparison import compare_outputs
    from lepton_compiler.evaluation.runner import open_peer, require_peer
    from lepton_compiler.runtime.model import load

    peer = require_peer("onnxruntime", "comparing with ONNX Runtime")
    onnx_file = reference_of(model, reference)
    shapes = parse_shapes(input_shapes)
    options = replace(compilation, input_shapes=shapes)
    with (
        progress("compile") as on_step,
        as_artifact(model, options, on_step) as library,
        load(library, threads=threads) as loaded,
    ):
        check_same_model(loaded.manifest, onnx_file)
        feed = make_feed(loaded.inputs, shapes, inputs_file, seed, allow_nan=allow_nan)
        on_step("run")
        actual = loaded(*feed.values())
        on_step("run ONNX Runtime")
        runner = open_peer(peer, onnx_file, loaded.threads, {name: value.shape for name, value in feed.items()})
        expected = runner.run(feed)
        runner.close()
        allowed = TOLERANCES[tolerance] if tolerance else tolerance_of(loaded.manifest.precision)
    comparisons = compare_outputs(actual, expected, allowed)
    if output_format == "json":
        show_json({"tolerance": allowed, "agrees": _all_agree(comparisons), "outputs": comparisons})
    else:
        _show(comparisons, allowed)
    if not _all_agree(comparisons):
        raise click.exceptions.Exit(EXIT_DISAGREES)


def reference_of(model: Path, reference: Path | None) -> Path:
    """The ONNX file that peers run.

    Raises:
        UserError: MODEL is an artifact and no ONNX file is given, or both are ONNX files, or the reference is none.
    """
    if reference is not None and is_artifact(reference):
        raise UserError(
            f"{reference} is a compiled artifact, and peers run ONNX files: the second argument, REFERENCE.onnx, is "
            "the file that the artifact, the first one, was compiled from"
        )
    if is_artifact(model):
        if reference is None:
            raise UserError(f"{model} is an artifact; give the ONNX file that it was compiled from as second argument")
        return reference
    if reference is not None:
        raise UserError(f"{model} is not an artifact, so it is its own reference; leave {reference} out")
    return model


def check_same_model(manifest: Manifest, onnx_file: Path) -> None:
    """Warns where ``onnx_file`` is not what the artifact was compiled from.

    Raises:
        UserError: The file can't be read, or it has other inputs than the artifact.
    """
    try:
        data = onnx_file.read_bytes()
    except OSError as error:
        raise UserError(f"can't read {onnx_file}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() == manifest.model.sha256:
        return
    wanted, found = [entry.name for entry in manifest.inputs], _input_names(onnx_file)
    if found is not None and set(wanted) != set(found):
        raise UserError(
            f"{onnx_file} has the inputs {', '.join(found) or 'none'}, the artifact {', '.join(wanted) or 'none'}: "
            f"give the ONNX file that it was compiled from, {manifest.model.name}"
        )
    warn(f"the artifact was compiled from another file than {onnx_file}: {manifest.model.name} with another hash")


def _input_names(onnx_file: Path) -> list[str] | None:
    """The inputs of an ONNX file; None where it is no valid one, of which the peer that loads it has its own say."""
    from lepton_compiler.frontend.input_shapes import input_names
    from lepton_compiler.frontend.load_model import load_model

    try:
        return input_names(load_model(onnx_file).proto.graph)
    except ModelError:
        return None


def _all_agree(comparisons: list[OutputComparison]) -> bool:
    return all(comparison.agrees for comparison in comparisons)


def _error_texts(entry: OutputComparison) -> tuple[str, ...]:
    """The four numbers of a row; dashes where nothing was measured."""
    if not entry.is_measured:
        return ("-",) * 4
    of_range = entry.max_abs / entry.reference_range
    return f"{entry.max_abs:.3g}", f"{of_range:.2g}", f"{entry.max_rel:.3g}", f"{entry.cosine:.8f}"


def _show(comparisons: list[OutputComparison], tolerance: Tolerance) -> None:
    rows = [
        (
            entry.name,
            shape_text(entry.shape),
            entry.dtype,
            *_error_texts(entry),
            "agrees" if entry.agrees else "; ".join(entry.reasons),
        )
        for entry in comparisons
    ]
    columns = ("output", "shape", "type", "max abs>", "of range>", "max rel>", "cosine>", f"under {tolerance.name}")
    show_table(None, columns, rows)
