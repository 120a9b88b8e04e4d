"""``lepton profile``: each kernel's time and rates, beside what this machine reaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.graph_options import graph_options
from lepton_compiler.cli.kernel_table import kernel_columns, kernel_rows, profile_summary
from lepton_compiler.cli.model_argument import as_artifact, make_feed
from lepton_compiler.cli.options import (
    HTML_ENDINGS,
    check_ending,
    feed_options,
    file_path,
    format_option,
    input_shapes_option,
    parse_shapes,
    target_option,
    threads_option,
)
from lepton_compiler.cli.rendering import bytes_text, machine_text, progress, show_json, show_table, warn_of_load
from lepton_compiler.core.optional_packages import MATPLOTLIB
from lepton_compiler.core.options import CompileOptions

if TYPE_CHECKING:
    from lepton_compiler.evaluation.html_page import Table
    from lepton_compiler.evaluation.kernel_profile import KernelProfile, ModelProfile
    from lepton_compiler.evaluation.machine import MachineDescription
    from lepton_compiler.evaluation.machine_probe import MachinePeaks

_PACKAGES = ("apache-tvm", "numpy")


@click.command("profile", short_help="Show each kernel's time beside what this machine reaches.")
@click.argument("model", type=file_path, metavar="MODEL")
@feed_options
@input_shapes_option
@target_option
@graph_options
@threads_option
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="Runs whose medians are shown.")
@click.option("--top", type=click.IntRange(1), metavar="N", help="Show the N longest kernels; all if left out.")
@click.option("--png", "png_file", type=file_path, metavar="FILE.png", help="Draw a roofline picture.")
@click.option("--html", "html_file", type=file_path, metavar="FILE.html", help="Write picture and table as one page.")
@click.option("--force", is_flag=True, help="Overwrite the picture's or page's file if it exists.")
@format_option
def command(
    model: Path,
    inputs_file: Path | None,
    seed: int,
    allow_nan: bool,
    input_shapes: tuple[str, ...],
    target: str,
    compilation: CompileOptions,
    threads: int | None,
    runs: int,
    top: int | None,
    png_file: Path | None,
    html_file: Path | None,
    force: bool,
    output_format: str,
) -> None:
    """Runs MODEL, an artifact or an ONNX file (which is compiled first), and lists its kernels by their time, with
    arithmetic and memory rates, the share of what this machine reaches with as many threads, and why each is computed
    the way it is.

    \b
    Examples:
      lepton profile model.so --threads 1
      lepton profile model.onnx --top 10 --html profile.html
      lepton profile ocr.so --input-shapes "x:[1,3,48,320]" --format json
    """
    from lepton_compiler.evaluation.kernel_profile import profile_model
    from lepton_compiler.evaluation.machine import describe_machine
    from lepton_compiler.evaluation.machine_probe import best_peaks, measure_peaks
    from lepton_compiler.runtime.model import load

    _check_files(png_file, html_file, force)
    shapes = parse_shapes(input_shapes)
    machine = describe_machine(_PACKAGES)
    options = replace(compilation, target=target, input_shapes=shapes)
    with progress("run") as on_step, as_artifact(model, options, on_step) as library:
        with load(library, threads=threads) as loaded:
            feed = make_feed(loaded.inputs, shapes, inputs_file, seed, allow_nan=allow_nan)
            used_threads = loaded.threads
            features = loaded.manifest.target.cpu_features
        on_step("measure the machine")
        before = measure_peaks(used_threads, cpu_features=features)
        on_step("run")
        profile = profile_model(library, feed, used_threads, runs)
        on_step("measure the machine again")
        peaks = best_peaks(before, measure_peaks(used_threads, cpu_features=features))
    warn_of_load(machine)
    _write_files(png_file, html_file, profile, peaks, machine)
    if output_format == "json":
        show_json(_document(model.name, profile, peaks, machine, top))
    else:
        for columns, rows in _tables(profile, peaks, top):
            show_table(None, columns, rows)
        click.echo("\n".join(_sentences(profile, peaks, machine)))
        for path in (png_file, html_file):
            if path is not None:
                click.echo(f"wrote {path}")


def _check_files(png_file: Path | None, html_file: Path | None, force: bool) -> None:
    from lepton_compiler.core.result_files import check_writable

    for option, path, endings in (("--png", png_file, (".png",)), ("--html", html_file, HTML_ENDINGS)):
        if path is not None:
            check_ending(option, path, endings)
            MATPLOTLIB.require(f"a picture for {option}")
            check_writable(path, force=force)


def _write_files(
    png_file: Path | None,
    html_file: Path | None,
    profile: ModelProfile,
    peaks: MachinePeaks,
    machine: MachineDescription,
) -> None:
    from lepton_compiler.core.result_files import complete_file, write_text
    from lepton_compiler.evaluation.html_page import html_page, html_table
    from lepton_compiler.evaluation.roofline import roofline_png, roofline_svg

    if png_file is not None:
        with complete_file(png_file) as file:
            file.write(roofline_png(profile, peaks))
    if html_file is not None:
        sentences = _sentences(profile, peaks, machine)
        tables = [html_table(*table) for table in _tables(profile, peaks)]
        title = f"Profile of {profile.manifest.model.name}"
        write_text(html_file, html_page(title, sentences, [roofline_svg(profile, peaks), *tables]))


def _tables(profile: ModelProfile, peaks: MachinePeaks, top: int | None = None) -> list[Table]:
    """Kernels with their rates, and the reasons for their algorithms."""
    from lepton_compiler.evaluation.algorithm_reasons import reason_rows

    kernels = profile.ranked(top)
    return [
        (kernel_columns(peaks), kernel_rows(kernels, peaks)),
        (("#", "why it is computed so"), reason_rows(kernels, profile)),
    ]


def _sentences(profile: ModelProfile, peaks: MachinePeaks, machine: MachineDescription) -> list[str]:
    return [*profile_summary(profile), *_peak_sentences(peaks, profile.manifest.target.name), machine_text(machine)]


def _peak_sentences(peaks: MachinePeaks, target: str) -> list[str]:
    """What the machine reaches with the target's instructions, in words."""
    rates = [
        f"{peak.type} {peak.operations_per_second / 1e9:.0f} GFLOP/s ({peak.instruction})"
        for peak in peaks.best_arithmetic()
    ]
    threads = f"{peaks.threads} thread{'s' if peaks.threads > 1 else ''}"
    memory, cache = peaks.memory, peaks.cache
    return [
        f"this machine with {threads} and the instructions of {target}: {', '.join(rates)}",
        f"memory {memory.bytes_per_second / 1e9:.1f} GB/s ({memory.kernel}, {bytes_text(memory.array_bytes)}), "
        f"cache {cache.bytes_per_second / 1e9:.1f} GB/s ({cache.kernel}, {bytes_text(cache.array_bytes)})",
    ]


def _document(
    name: str, profile: ModelProfile, peaks: MachinePeaks, machine: MachineDescription, top: int | None
) -> dict[str, Any]:
    return {
        "model": name,
        "machine": machine,
        "peaks": peaks,
        "threads": profile.threads,
        "runs": profile.runs,
        "call_seconds": profile.call_seconds,
        "kernel_seconds": profile.kernel_seconds,
        "kernels": [_kernel_document(kernel, profile, peaks) for kernel in profile.ranked(top)],
    }


def _kernel_document(kernel: KernelProfile, profile: ModelProfile, peaks: MachinePeaks) -> dict[str, Any]:
    from lepton_compiler.evaluation.algorithm_reasons import reason_text, reasons_of
    from lepton_compiler.evaluation.kernel_profile import share_of_peaks

    share = share_of_peaks(kernel, peaks)
    return {
        "number": kernel.number,
        "kernel": kernel.entry.name,
        "nodes": kernel.entry.nodes,
        "anchor": kernel.entry.anchor,
        "schedule": kernel.entry.schedule,
        "reason": reason_text(kernel, profile),
        "decisions": reasons_of(kernel, profile),
        "seconds": kernel.seconds,
        "share": kernel.share,
        "flops": kernel.flops,
        "bytes": kernel.moved_bytes,
        "operand_type": kernel.entry.operand_type,
        "flops_per_second": kernel.flops_per_second,
        "bytes_per_second": kernel.bytes_per_second,
        "share_of_arithmetic_peak": share.arithmetic,
        "share_of_memory_peak": share.memory,
        "limit": share.limit,
    }
