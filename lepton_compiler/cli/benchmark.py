"""``lepton benchmark``: times beside those of peers, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lepton_compiler.cli.benchmark_resources import ResourceOptions, run_resources
from lepton_compiler.cli.benchmark_suite import (
    TIMED_PACKAGES,
    SuiteOptions,
    list_suite,
    run_suite,
    warn_of_precisions,
)
from lepton_compiler.cli.compare import check_same_model, reference_of
from lepton_compiler.cli.graph_options import GRAPH_OPTIONS, graph_options
from lepton_compiler.cli.model_argument import as_artifact, is_artifact, make_feed
from lepton_compiler.cli.options import (
    feed_options,
    file_path,
    format_option,
    given_options,
    input_shapes_option,
    parse_shapes,
)
from lepton_compiler.cli.rendering import machine_text, progress, show_json, show_table, warn_of_load
from lepton_compiler.core.options import CompileOptions, Dim

if TYPE_CHECKING:
    from lepton_compiler.evaluation.benchmark import RunnerTimes
    from lepton_compiler.evaluation.interleaved_timing import Spread
    from lepton_compiler.evaluation.machine import MachineDescription

_OF_ONE_MODEL = (
    "model",
    "inputs_file",
    "allow_nan",
    "input_shapes",
    *(option for option in GRAPH_OPTIONS if option != "precision"),
)
_OF_THE_SUITE = {
    "batch": '--input-shapes gives one model its batch: --input-shapes "NAME:[{batch},...]", with all dimensions; '
    "a model that was exported with a fixed batch has to be exported again with a symbolic one for that",
    "symbolic_batch": '--input-shapes names symbolic dimensions of one model: --input-shapes "NAME:[batch,...]"',
    "resources": "`lepton compile --print-time` and `lepton inspect` say what one model takes",
    "output": "of one model, --format json prints everything measured",
    "force": "there is no file to overwrite",
    "markdown": "of one model, the table is printed",
}
"""Parameters that mean something on one side only; for the suite's, what to do with one model."""
_NOT_OF_RESOURCES = ("peers", "threads", "rounds", "warmup", "symbolic_batch", "precision")
"""What --resources has no use for: it times nothing, and compiles in float32 for one batch."""


def _parse_threads(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        raise click.BadParameter(f'"{value}" is no list of numbers such as 1,2') from None
    if any(number < 1 for number in numbers):
        raise click.BadParameter("a number of threads is at least 1")
    return numbers


def _parse_names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


@click.command("benchmark", short_help="Time a model or a suite of models against ONNX Runtime, OpenVINO and TVM.")
@click.argument("model", type=file_path, required=False, metavar="[MODEL]")
@click.argument("reference", type=file_path, required=False, metavar="[REFERENCE.onnx]")
@click.option(
    "--suite",
    "suite",
    is_flag=False,
    flag_value="all",
    callback=_parse_names,
    metavar="[NAMES]",
    help="Time the suite's models instead of MODEL: names separated by commas, all of them without a name.",
)
@click.option("--list", "list_models", is_flag=True, help="List the suite's models.")
@click.option(
    "--against",
    "peers",
    callback=_parse_names,
    metavar="PEERS",
    help='Peers, separated by commas: onnxruntime, openvino, openvino-bf16, tvm; "" for none. If left out, '
    "onnxruntime; with --suite every installed rival of that precision.",
)
@click.option(
    "--threads",
    callback=_parse_threads,
    metavar="N,M",
    help="Threads, one run each. If left out, 1; with --suite 1,2.",
)
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True, help="Samples of each runner.")
@click.option("--warmup", type=click.IntRange(1), default=3, show_default=True, help="Untimed calls of each before.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="With --suite: size of a batch.")
@click.option("--symbolic-batch", is_flag=True, help="With --suite: compile for any batch, run with that one.")
@click.option(
    "--resources",
    is_flag=True,
    help="With --suite: memory of runs beside ONNX Runtime's, time and memory of compilations, instead of times.",
)
@click.option("--output", type=file_path, metavar="FILE.json", help="With --suite: write everything measured as JSON.")
@click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
@click.option(
    "--markdown",
    type=file_path,
    metavar="FILE.md",
    help="With --suite: write the table, between the markers of a file that has them.",
)
@graph_options
@feed_options
@input_shapes_option
@format_option
@click.pass_context
def command(
    ctx: click.Context,
    model: Path | None,
    reference: Path | None,
    suite: tuple[str, ...] | None,
    list_models: bool,
    peers: tuple[str, ...] | None,
    threads: tuple[int, ...] | None,
    rounds: int,
    warmup: int,
    batch: int,
    symbolic_batch: bool,
    resources: bool,
    output: Path | None,
    force: bool,
    markdown: Path | None,
    compilation: CompileOptions,
    inputs_file: Path | None,
    seed: int,
    allow_nan: bool,
    input_shapes: tuple[str, ...],
    output_format: str,
) -> None:
    """Times MODEL, an artifact followed by its ONNX file, or an ONNX file alone, against its peers.

    Every round times each runner once, so that drift of the machine hits all alike; the ratio is taken round by round.
    All have the same number of threads, pinned to the same processors. With --suite, published
    networks are compiled and timed one after the other.

    \b
    Examples:
      lepton benchmark model.onnx
      lepton benchmark model.so model.onnx --against onnxruntime,openvino --threads 1,2
      lepton benchmark bert.onnx --input-shapes "input_ids:[1,128]" --rounds 50 --format json
      lepton benchmark --list
      lepton benchmark model.onnx --precision bf16 --against openvino-bf16
      lepton benchmark --suite --output results.json
      lepton benchmark --suite resnet50,bert_base --threads 2 --batch 8 --symbolic-batch
      lepton benchmark --suite --resources
    """
    _check_combination(suite is not None, list_models, batch)
    if list_models:
        list_suite(output_format)
    elif suite is not None and resources:
        ctx.exit(run_resources(ResourceOptions(suite, batch, seed, output, force, markdown), output_format))
    elif suite is not None:
        options = SuiteOptions(
            suite,
            peers,
            threads,
            rounds,
            warmup,
            batch,
            symbolic_batch,
            seed,
            output,
            force,
            markdown,
            compilation.precision,
        )
        ctx.exit(run_suite(options, output_format))
    else:
        assert model is not None
        feed = _FeedOptions(inputs_file, seed, allow_nan, parse_shapes(input_shapes))
        compilation = replace(compilation, input_shapes=feed.shapes)
        peers = ("onnxruntime",) if peers is None else peers
        _benchmark_one(model, reference, peers, threads or (1,), rounds, warmup, feed, compilation, output_format)


def _check_combination(suite: bool, list_models: bool, batch: int) -> None:
    """Refuses options that would be ignored.

    Raises:
        UsageError: One was given; the message says what to do instead.
    """
    if list_models:
        if others := [name for name in given_options(_all_parameters()) if name not in ("--list", "--format")]:
            raise click.UsageError(f"--list only lists the suite's models: leave {', '.join(others)} out")
    elif suite:
        if given_options(("resources",)) and (useless := given_options(_NOT_OF_RESOURCES)):
            raise click.UsageError(
                "--resources measures memory of runs with one thread, and compilations in float32 for the size of "
                f"--batch: leave {', '.join(useless)} out"
            )
        if misplaced := given_options(_OF_ONE_MODEL):
            raise click.UsageError(
                f"--suite has models and inputs of its own, so that {', '.join(misplaced)} can't be given with it; "
                "names of the suite's models stand behind --suite, separated by commas"
            )
    else:
        for name, instead in _OF_THE_SUITE.items():
            if given := given_options((name,)):
                raise click.UsageError(f"{given[0]} needs --suite; {instead.format(batch=batch)}")
        if not given_options(("model",)):
            raise click.UsageError("name a MODEL to time, or give --suite to time the suite's; --list shows them")


def _all_parameters() -> list[str]:
    return [parameter.name or "" for parameter in click.get_current_context().command.params]


@dataclass(frozen=True)
class _FeedOptions:
    """Where the inputs of one model come from."""

    inputs_file: Path | None
    seed: int
    allow_nan: bool
    shapes: Mapping[str, tuple[Dim, ...]]


def _benchmark_one(
    model: Path,
    reference: Path | None,
    peers: tuple[str, ...],
    threads: tuple[int, ...],
    rounds: int,
    warmup: int,
    options: _FeedOptions,
    compilation: CompileOptions,
    output_format: str,
) -> None:
    from lepton_compiler.evaluation.benchmark import BenchmarkRequest, run_benchmark
    from lepton_compiler.evaluation.machine import describe_machine
    from lepton_compiler.evaluation.runner import require_peer
    from lepton_compiler.runtime.model import load

    for name in peers:
        require_peer(name, f"a benchmark against {name}")
    onnx_file = reference_of(model, reference) if peers or not is_artifact(model) else None
    machine = describe_machine(TIMED_PACKAGES)
    results: list[RunnerTimes] = []
    with (
        progress("compile") as on_step,
        as_artifact(model, compilation, on_step) as library,
    ):
        with load(library) as loaded:
            if onnx_file is not None:
                check_same_model(loaded.manifest, onnx_file)
            warn_of_precisions(loaded.manifest.precision, peers)
            inputs = options.inputs_file, options.seed
            feed = make_feed(loaded.inputs, options.shapes, *inputs, allow_nan=options.allow_nan)
        for number in threads:
            on_step(f"time with {number} thread{'s' if number > 1 else ''}")
            request = BenchmarkRequest(library, onnx_file, peers, number, feed, rounds, warmup)
            results += run_benchmark(request)
    warn_of_load(machine)
    if output_format == "json":
        show_json({"machine": machine, "rounds": rounds, "warmup": warmup, "model": model.name, "results": results})
    else:
        _show(model.name, rounds, machine, results)


def _show(name: str, rounds: int, machine: MachineDescription, results: list[RunnerTimes]) -> None:
    from lepton_compiler.evaluation.interleaved_timing import RATIO_NOTE

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
    if any(entry.ratio is not None for entry in results):
        click.echo(RATIO_NOTE)
    click.echo(machine_text(machine))


def _ratio_text(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.p10:.2f} - {ratio.p90:.2f})"
