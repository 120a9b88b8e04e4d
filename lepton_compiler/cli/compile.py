"""``lepton compile``: an ONNX file to a shared library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.graph_options import graph_options
from lepton_compiler.cli.kernel_tuning import tuned_kernels, tuned_text
from lepton_compiler.cli.model_argument import make_feed
from lepton_compiler.cli.options import (
    file_path,
    format_option,
    input_shapes_option,
    parse_shapes,
    target_option,
)
from lepton_compiler.cli.precision_text import precision_text
from lepton_compiler.cli.rendering import (
    bytes_text,
    plain,
    progress,
    shape_text,
    show_facts,
    show_json,
    show_table,
    symbol_values_text,
    warn,
)
from lepton_compiler.core.errors import LeptonError, OutputError
from lepton_compiler.core.options import CompileOptions

if TYPE_CHECKING:
    import numpy as np

    from lepton_compiler.core.instruments import PassTimer
    from lepton_compiler.core.manifest import TensorEntry
    from lepton_compiler.driver import CompileReport
    from lepton_compiler.evaluation.comparison import OutputComparison
    from lepton_compiler.runtime.model import Model

Feed = Mapping[str, "np.ndarray"]
"""Input tensors by name."""

_TYPICAL_SIZE = 64
"""What a symbolic dimension is taken for where inputs are random."""
_NO_ERRORS = ("-", "-", "-")
"""In the place of the errors of an output of which no element was compared."""


@click.command("compile", short_help="Compile an ONNX file to a shared library.")
@click.argument("model", type=file_path, metavar="MODEL.onnx")
@click.option("-o", "--output", type=file_path, required=True, metavar="FILE.so", help="Library to write.")
@target_option
@input_shapes_option
@graph_options
@click.option(
    "--check-inputs",
    type=file_path,
    metavar="FILE.npz",
    help="Inputs by name for the comparison of a lower precision with fp32; else random.",
)
@click.option("--no-in-place", is_flag=True, help="Give every intermediate tensor memory of its own while it lives.")
@click.option("--dump-ir", type=file_path, metavar="DIR", help="Write the program after every pass into DIR.")
@click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
@click.option("--print-time", is_flag=True, help="Show the seconds of every step and pass.")
@format_option
def command(
    model: Path,
    output: Path,
    target: str,
    input_shapes: tuple[str, ...],
    compilation: CompileOptions,
    check_inputs: Path | None,
    no_in_place: bool,
    dump_ir: Path | None,
    force: bool,
    print_time: bool,
    output_format: str,
) -> None:
    """Compiles MODEL.onnx to a shared library that needs the C library alone.

    \b
    Examples:
      lepton compile mobilenet.onnx -o mobilenet.so
      lepton compile bert.onnx -o bert.so --input-shapes "input_ids:[1,n] attention_mask:[1,n]"
      lepton compile model.onnx -o model.so --target arm-cortex-a72 --force
      lepton compile resnet.onnx -o resnet.so --precision bf16 --keep-fp32 first --keep-fp32 last
      lepton compile model.onnx -o model.so --dump-ir dumps --print-time
      lepton compile model.onnx -o model.so --tuning-log tuning_logs
    """
    from lepton_compiler.core.instruments import ModuleDumper, PassTimer
    from lepton_compiler.driver import compile_model

    options = replace(
        compilation,
        target=target,
        input_shapes=parse_shapes(input_shapes),
        in_place=not no_in_place,
    )
    feed = None if check_inputs is None else _read_check_inputs(model, options, check_inputs)
    timer = PassTimer()
    dumpers = [_open_dumps(ModuleDumper, dump_ir)] if dump_ir is not None else []
    with progress("import") as on_step:
        report = compile_model(model, output, options, force=force, instruments=(timer, *dumpers), on_step=on_step)
        errors = None if options.precision == "fp32" else _precision_errors(model, options, report, feed, on_step)
    if output_format == "json":
        show_json(_document(report, timer, errors))
        return
    _show_summary(report, options)
    if errors is not None:
        _show_errors(errors)
    if print_time:
        _show_times(report, timer)


def _open_dumps(dumper: Any, folder: Path) -> Any:
    try:
        return dumper(folder)
    except OSError as error:
        raise OutputError(f"can't write dumps into {folder}: {error.strerror}") from error


def _read_check_inputs(model: Path, options: CompileOptions, file: Path) -> Feed:
    """The tensors of ``--check-inputs``, before the work that leads to their use is done.

    Raises:
        UsageError: There is no lower precision to compare with fp32.
        InputError: The file can't be read, or doesn't fit the model's inputs.
        ModelError: The model can't be read.
    """
    if options.precision == "fp32":
        raise click.UsageError(
            "--check-inputs is for the comparison of a lower precision with fp32: give --precision bf16 or mixed, or "
            "leave --check-inputs out"
        )
    from lepton_compiler.frontend.input_shapes import resolve_inputs
    from lepton_compiler.frontend.load_model import load_model

    inputs = resolve_inputs(load_model(model).proto.graph, options.input_shapes)
    return make_feed(inputs, {}, file, seed=0, allow_nan=False)


def _precision_errors(
    model: Path, options: CompileOptions, report: CompileReport, given: Feed | None, on_step: Callable[[str], None]
) -> list[OutputComparison] | str:
    """How far each output is from the float32 model's, or why that is not known."""
    from lepton_compiler.evaluation.precision_errors import measure_precision_errors
    from lepton_compiler.runtime.model import load

    on_step("compare with fp32")
    try:
        with load(report.output) as lower:
            feed = _random_feed(lower) if given is None else given
            return measure_precision_errors(model, lower, options, feed)
    except LeptonError as error:
        return f"not compared with fp32: {error}"


def _random_feed(model: Model) -> Feed:
    sizes = {
        entry.name: tuple(_TYPICAL_SIZE if isinstance(dim, str) else dim for dim in entry.shape)
        for entry in model.inputs
    }
    return make_feed(model.inputs, sizes, None, seed=0, allow_nan=False)


def _show_errors(errors: list[OutputComparison] | str) -> None:
    if isinstance(errors, str):
        warn(errors)
        return
    rows = [
        (entry.name, f"{entry.max_abs:.3g}", f"{entry.max_abs / entry.reference_range:.2g}", f"{entry.cosine:.6f}")
        if entry.is_measured
        else (entry.name, *_NO_ERRORS)
        for entry in errors
    ]
    show_table("against the same model in fp32", ("output", "max abs error>", "of range>", "cosine>"), rows)
    for entry in errors:
        if not entry.is_measured:
            warn(f'output "{entry.name}" is not compared with fp32: {"; ".join(entry.reasons)}')


def _document(report: CompileReport, timer: PassTimer, errors: list[OutputComparison] | str | None) -> dict[str, Any]:
    manifest = report.manifest
    return {
        "output": str(report.output),
        "artifact_bytes": report.artifact_bytes,
        "target": manifest.target,
        "precision": manifest.precision,
        "errors_against_fp32": errors,
        "inputs": manifest.inputs,
        "outputs": manifest.outputs,
        "weights": manifest.weights,
        "memory": manifest.memory,
        "kernels": len(manifest.kernels),
        "tuning": [{"kernel": name, **plain(tuning)} for name, tuning in tuned_kernels(manifest).items()],
        "seconds": report.seconds,
        "pass_seconds": timer.seconds,
    }


def _show_summary(report: CompileReport, options: CompileOptions) -> None:
    manifest = report.manifest
    weights = manifest.weights
    place = f"in {weights.file}, which must stay beside the library" if weights.file else "inside"
    distinct = len({kernel.name for kernel in manifest.kernels})
    total = sum(report.seconds.values())
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in report.seconds.items())
    show_facts(
        [
            ("wrote", f"{report.output} ({bytes_text(report.artifact_bytes)}) for {manifest.target.name}"),
            *([] if options.precision == "fp32" else [("precision", precision_text(manifest))]),
            ("inputs", _tensors(manifest.inputs)),
            ("outputs", _tensors(manifest.outputs)),
            ("weights", f"{bytes_text(weights.bytes)} {place}"),
            ("kernels", f"{len(manifest.kernels)} calls of {distinct} kernels"),
            *([("tuned", tuned_text(manifest, options.tuning_logs))] if options.tuning_logs else []),
            ("memory", _memory_text(report)),
            ("seconds", f"{total:.1f} ({steps})"),
        ]
    )


def _tensors(entries: tuple[TensorEntry, ...]) -> str:
    return ", ".join(f"{entry.name} {entry.dtype} {shape_text(entry.shape)}" for entry in entries)


def _memory_text(report: CompileReport) -> str:
    memory = report.manifest.memory
    share = memory.arena_bytes / memory.lower_bound_bytes if memory.lower_bound_bytes else 1.0
    bound = bytes_text(memory.lower_bound_bytes)
    text = f"arena {bytes_text(memory.arena_bytes)}, {share:.3f} times the lower bound {bound}"
    text += symbol_values_text(report.manifest)
    return f"{text}; {bytes_text(memory.thread_workspace_bytes)} workspace a thread"


def _show_times(report: CompileReport, timer: PassTimer) -> None:
    rows = [("step", name, f"{seconds:.3f}") for name, seconds in report.seconds.items()]
    rows += [("pass", name, f"{seconds:.3f}") for name, seconds in timer.seconds.items()]
    show_table(None, ("", "name", "seconds>"), rows)
