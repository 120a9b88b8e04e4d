"""``lepton run``: a model once, on tensors from a file or on random ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.model_argument import as_artifact, make_feed
from lepton_compiler.cli.options import (
    feed_options,
    file_path,
    format_option,
    input_shapes_option,
    parse_shapes,
    threads_option,
)
from lepton_compiler.cli.rendering import progress, shape_text, show_json, show_table, warn
from lepton_compiler.core.errors import OutputError
from lepton_compiler.core.options import CompileOptions

if TYPE_CHECKING:
    import numpy as np

    from lepton_compiler.evaluation.interleaved_timing import Spread

_SHOWN_VALUES = 4
_WARMUP = 2


@click.command("run", short_help="Run a model on given or random inputs.")
@click.argument("model", type=file_path, metavar="MODEL")
@feed_options
@input_shapes_option
@click.option("--outputs", "outputs_file", type=file_path, metavar="FILE.npz", help="Write the outputs by name.")
@click.option("--force", is_flag=True, help="Overwrite the outputs file if it exists.")
@threads_option
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Run that often and show times.")
@click.option("--print-time", is_flag=True, help="Show the time even of one run.")
@format_option
def command(
    model: Path,
    inputs_file: Path | None,
    seed: int,
    allow_nan: bool,
    input_shapes: tuple[str, ...],
    outputs_file: Path | None,
    force: bool,
    threads: int | None,
    repeat: int,
    print_time: bool,
    output_format: str,
) -> None:
    """Runs MODEL, an artifact or an ONNX file (which is compiled first), and shows its outputs.

    Without --inputs the inputs are random: floating-point ones standard normal, integers 0 or 1, and the same for the
    same --seed.

    \b
    Examples:
      lepton run model.so
      lepton run model.so --inputs in.npz --outputs out.npz
      lepton run ocr.so --input-shapes "x:[1,3,48,320]" --threads 2 --repeat 20
    """
    from lepton_compiler.core.result_files import check_writable
    from lepton_compiler.evaluation.tensor_files import write_tensors
    from lepton_compiler.runtime.model import load

    shapes = parse_shapes(input_shapes)
    if outputs_file is not None:
        _check_not_the_inputs(outputs_file, inputs_file)
        check_writable(outputs_file, force=force)
    with (
        progress("run") as on_step,
        as_artifact(model, CompileOptions(input_shapes=shapes), on_step) as library,
        load(library, threads=threads) as loaded,
    ):
        feed = make_feed(loaded.inputs, shapes, inputs_file, seed, allow_nan=allow_nan)
        outputs = loaded(*feed.values())
        spread = _times(loaded, feed, repeat) if repeat > 1 or print_time else None
        used_threads = loaded.threads
    _warn_of_non_finite(outputs)
    if outputs_file is not None:
        write_tensors(outputs_file, outputs)
    if output_format == "json":
        show_json(_document(outputs, spread, used_threads, outputs_file))
    else:
        _show(outputs, spread, used_threads, repeat, outputs_file)


def _check_not_the_inputs(outputs_file: Path, inputs_file: Path | None) -> None:
    if inputs_file is None or not (outputs_file.exists() and inputs_file.exists()):
        return
    if outputs_file.samefile(inputs_file):
        raise OutputError(f"{outputs_file} is the file of --inputs; name another one for the outputs")


def _times(model: Any, feed: Mapping[str, np.ndarray], repeat: int) -> Spread:
    from lepton_compiler.evaluation.interleaved_timing import time_interleaved

    times = time_interleaved({"lepton": lambda: model(*feed.values())}, rounds=repeat, warmup=_WARMUP)
    return times.spread_ms("lepton")


def _warn_of_non_finite(outputs: Mapping[str, np.ndarray]) -> None:
    from lepton_compiler.evaluation.input_values import non_finite_counts

    for name, value in outputs.items():
        nans, infinities = non_finite_counts(value)
        if nans or infinities:
            warn(f'output "{name}" holds {nans} NaN and {infinities} infinite values')


def _summary(name: str, value: np.ndarray) -> dict[str, Any]:
    """Shape, type, first values and, where there are values, their extent."""
    flat = value.reshape(-1)
    numbers = flat.astype("float64")
    return {
        "name": name,
        "shape": list(value.shape),
        "dtype": str(value.dtype),
        "min": float(numbers.min()) if flat.size else None,
        "max": float(numbers.max()) if flat.size else None,
        "mean": float(numbers.mean()) if flat.size else None,
        "first": [float(number) for number in numbers[:_SHOWN_VALUES]],
    }


def _document(
    outputs: Mapping[str, np.ndarray], spread: Spread | None, threads: int, outputs_file: Path | None
) -> dict[str, Any]:
    return {
        "outputs": [_summary(name, value) for name, value in outputs.items()],
        "threads": threads,
        "milliseconds": spread,
        "written": None if outputs_file is None else str(outputs_file),
    }


def _show(
    outputs: Mapping[str, np.ndarray], spread: Spread | None, threads: int, repeat: int, outputs_file: Path | None
) -> None:
    rows = []
    for name, value in outputs.items():
        summary = _summary(name, value)
        extent = [_number(summary[key]) for key in ("min", "max", "mean")]
        first = " ".join(_number(number) for number in summary["first"])
        more = " ..." if value.size > _SHOWN_VALUES else ""
        rows.append((name, shape_text(value.shape), summary["dtype"], *extent, first + more))
    show_table(None, ("output", "shape", "type", "min>", "max>", "mean>", "first values"), rows)
    if spread is not None:
        click.echo(
            f"{spread.median:.3f} ms a run with {threads} thread{'s' if threads > 1 else ''}: median of {repeat}, "
            f"p10 {spread.p10:.3f}, p90 {spread.p90:.3f}"
        )
    if outputs_file is not None:
        click.echo(f"wrote {outputs_file}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
