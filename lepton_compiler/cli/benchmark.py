"""``lepton benchmark``: times beside those of peers, in interleaved rounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lepton_compiler.cli.compare import check_same_model, reference_of
from lepton_compiler.cli.model_argument import as_artifact, is_artifact, make_feed
from lepton_compiler.cli.options import feed_options, file_path, format_option, input_shapes_option, parse_shapes
from lepton_compiler.cli.rendering import progress, show_json, show_table, warn
from lepton_compiler.core.options import CompileOptions

if TYPE_CHECKING:
    from lepton_compiler.evaluation.benchmark import RunnerTimes
    from lepton_compiler.evaluation.interleaved_timing import Spread
    from lepton_compiler.evaluation.machine import MachineDescription

_PACKAGES = ("apache-tvm", "onnxruntime", "openvino", "numpy")
_BUSY = 0.25
"""Share of a machine's cores that others may keep busy before its timings are called unreliable."""


def _parse_threads(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        numbers = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        raise click.BadParameter(f'"{value}" is no list of numbers such as 1,2') from None
    if any(number < 1 for number in numbers):
        raise click.BadParameter("a number of threads is at least 1")
    return numbers


def _parse_peers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


@click.command("benchmark", short_help="Time a model against ONNX Runtime, OpenVINO and TVM.")
@click.argument("model", type=file_path, metavar="MODEL")
@click.argument("reference", type=file_path, required=False, metavar="[REFERENCE.onnx]")
@click.option(
    "--against",
    "peers",
    callback=_parse_peers,
    default="onnxruntime",
    show_default=True,
    metavar="PEERS",
    help='Peers, separated by commas: onnxruntime, openvino, tvm; "" for none.',
)
@click.option(
    "--threads", callback=_parse_threads, default="1", show_default=True, metavar="N,M", help="Threads, one run each."
)
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True, help="Samples of each runner.")
@click.option("--warmup", type=click.IntRange(1), default=3, show_default=True, help="Untimed calls of each before.")
@feed_options
@input_shapes_option
@format_option
def command(
    model: Path,
    reference: Path | None,
    peers: tuple[str, ...],
    threads: tuple[int, ...],
    rounds: int,
    warmup: int,
    inputs_file: Path | None,
    seed: int,
    allow_nan: bool,
    input_shapes: tuple[str, ...],
    output_format: str,
) -> None:
    """Times MODEL, an artifact followed by its ONNX file, or an ONNX file alone, against its peers.

    Every round times each runner once, so that drift of the machine hits all alike; the ratio is taken round by round.
    All have the same number of threads, pinned to the same processors, and compute in float32.

    \b
    Examples:
      lepton benchmark model.onnx
      lepton benchmark model.so model.onnx --against onnxruntime,openvino --threads 1,2
      lepton benchmark bert.onnx --input-shapes "input_ids:[1,128]" --rounds 50 --format json
    """
    from lepton_compiler.evaluation.benchmark import BenchmarkRequest, run_benchmark
    from lepton_compiler.evaluation.machine import describe_machine
    from lepton_compiler.evaluation.runner import require_peer
    from lepton_compiler.runtime.model import load

    for name in peers:
        require_peer(name, f"a benchmark against {name}")
    onnx_file = reference_of(model, reference) if peers or not is_artifact(model) else None
    shapes = parse_shapes(input_shapes)
    machine = describe_machine(_PACKAGES)
    results: list[RunnerTimes] = []
    with (
        progress("compile") as on_step,
        as_artifact(model, CompileOptions(input_shapes=shapes), on_step) as library,
    ):
        with load(library) as loaded:
            if onnx_file is not None:
                check_same_model(loaded.manifest, onnx_file)
            feed = make_feed(loaded.inputs, shapes, inputs_file, seed, allow_nan=allow_nan)
        for number in threads:
            on_step(f"time with {number} thread{'s' if number > 1 else ''}")
            request = BenchmarkRequest(library, onnx_file, peers, number, feed, rounds, warmup)
            results += run_benchmark(request)
    if machine.load_average > _BUSY * machine.cores:
        warn(
            f"the load average was {machine.load_average:.2f} on {machine.cores} cores before the start: "
            "times are higher than on a quiet machine, ratios less certain"
        )
    if output_format == "json":
        show_json({"machine": machine, "rounds": rounds, "warmup": warmup, "model": model.name, "results": results})
    else:
        _show(model.name, rounds, machine, results)


def _show(name: str, rounds: int, machine: MachineDescription, results: list[RunnerTimes]) -> None:
    rows = [
        (
            str(entry.threads),
            f"{entry.name} {entry.version}",
            f"{entry.milliseconds.median:.3f}",
            f"{entry.milliseconds.p10:.3f}",
            f"{entry.milliseconds.p90:.3f}",
            _ratio_text(entry.ratio),
            "" if entry.max_error_of_range is None else f"{entry.max_error_of_range:.1e}",
        )
        for entry in results
    ]
    columns = (
        "threads>",
        "runner",
        "median ms>",
        "p10>",
        "p90>",
        "lepton's time / its (p10 - p90)",
        "max error / range>",
    )
    show_table(f"{name}: {rounds} interleaved rounds", columns, rows)
    click.echo(
        f"{machine.processor}, {machine.cores} cores, load average {machine.load_average:.2f}; {machine.system}; "
        + ", ".join(f"{package} {version}" for package, version in machine.versions.items())
    )


def _ratio_text(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.p10:.2f} - {ratio.p90:.2f})"
