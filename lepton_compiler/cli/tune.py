"""``lepton tune``: better knobs for a model's kernels, measured on a device and kept in tuning logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.graph_options import untuned_graph_options
from lepton_compiler.cli.log_arguments import report_problems
from lepton_compiler.cli.main import EXIT_INTERRUPTED
from lepton_compiler.cli.options import (
    HTML_ENDINGS,
    NumberRange,
    check_ending,
    file_path,
    format_option,
    input_shapes_option,
    parse_shapes,
    target_option,
)
from lepton_compiler.cli.rendering import progress, show_json, show_table, warn
from lepton_compiler.cli.tune_gate import (
    check_accuracy,
    check_gate_options,
    gate_document,
    gate_sentences,
    read_feed,
)
from lepton_compiler.cli.tune_tables import check_sentences, plan_document, plan_rows, report_rows, report_sentences
from lepton_compiler.core.optional_packages import MATPLOTLIB, XGBOOST
from lepton_compiler.core.options import CompileOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from lepton_compiler.evaluation.tuned_model import TunedModelTimes
    from lepton_compiler.tuning.accuracy_gate import GateReport
    from lepton_compiler.tuning.session import Plan, TuningRequest
    from lepton_compiler.tuning.tuner import TrialEvent, Tuner
    from lepton_compiler.tuning.tuning_report import TuningReport

PLAN_COLUMNS = ("kernel", "schedule", "calls>", "MMACs>", "share>", "candidates>", "known>", "GFLOP/s>", "best>")
REPORT_COLUMNS = ("kernel", "calls>", "trials>", "default us>", "best us>", "gain>", "GFLOP/s>", "best knobs")


@click.command("tune", short_help="Find better knobs for a model's kernels on this machine.")
@click.argument("model", type=file_path, metavar="MODEL.onnx")
@click.option(
    "-o",
    "--output",
    type=file_path,
    default=Path("tuning_logs"),
    show_default=True,
    metavar="DIR",
    help="Folder of tuning logs; the model's own lie in DIR/TARGET/MODEL.",
)
@target_option
@input_shapes_option
@untuned_graph_options
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Stop after N candidates; else when all are tried.")
@click.option(
    "--time", "minutes", type=NumberRange(min=0, min_open=True), metavar="MINUTES", help="Stop after that many minutes."
)
@click.option(
    "--early-stop",
    type=click.IntRange(1),
    default=48,
    show_default=True,
    metavar="N",
    help="A kernel is done after N candidates without a gain.",
)
@click.option(
    "--tasks", multiple=True, metavar="KERNEL", help="Tune these kernels alone: names, also with *. May be repeated."
)
@click.option("--resume", is_flag=True, help="Search on where kernels have records already; else they are left alone.")
@click.option(
    "--tuning-log",
    "learn_from",
    multiple=True,
    type=file_path,
    metavar="PATH",
    help="More logs to learn from, files or folders. May be repeated.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads that run a candidate.")
@click.option(
    "--cache",
    type=click.Choice(["warm", "l2", "cold"]),
    default="l2",
    show_default=True,
    help="Where operands lie before a call: in any cache, behind the second one, or in memory.",
)
@click.option(
    "--builders", type=click.IntRange(1), default=1, show_default=True, help="Processes that build candidates."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of inputs and of the search.")
@click.option(
    "--report", "report_file", type=file_path, metavar="FILE.html", help="Write the report as a page, with curves."
)
@click.option("--force", is_flag=True, help="Overwrite the report's file if it exists.")
@click.option(
    "--max-error",
    type=NumberRange(min=0, min_open=True),
    metavar="SHARE",
    help="Largest error of an output that algorithms may cause, as a share of its range, against direct float32 ones; "
    "1e-4 unless given, with a lower precision 1e-2.",
)
@click.option(
    "--inputs", "inputs_file", type=file_path, metavar="FILE.npz", help="Inputs by name for that check; else random."
)
@click.option("--no-check", is_flag=True, help="Check neither accuracy nor time of the whole model at the end.")
@click.option("--dry-run", is_flag=True, help="Show the kernels and what is known of them; measure nothing.")
@format_option
def command(
    model: Path,
    output: Path,
    target: str,
    input_shapes: tuple[str, ...],
    compilation: CompileOptions,
    trials: int | None,
    minutes: float | None,
    early_stop: int,
    tasks: tuple[str, ...],
    resume: bool,
    learn_from: tuple[Path, ...],
    threads: int,
    cache: str,
    builders: int,
    seed: int,
    report_file: Path | None,
    force: bool,
    max_error: float | None,
    inputs_file: Path | None,
    no_check: bool,
    dry_run: bool,
    output_format: str,
) -> None:
    """Tries other knobs for the kernels of MODEL.onnx: tiles, chunks and what else their schedules have. Each
    candidate is compared with a reference before its time counts, and every trial is in the log before the next one
    begins. Ctrl-C stops, keeps everything, prints the report of what was found, and ends with exit code 130.

    \b
    Examples:
      lepton tune model.onnx --dry-run
      lepton tune model.onnx --time 30
      lepton compile model.onnx -o model.so --tuning-log tuning_logs
      lepton tune model.onnx --trials 2000 --resume --report report.html
      lepton tune model.onnx --tasks "fused_conv2d*" --threads 2
      lepton tune model.onnx --max-error 1e-5 --inputs samples.npz
    """
    from dataclasses import replace

    from lepton_compiler.core.result_files import check_writable
    from lepton_compiler.devices.local_device import LocalDevice
    from lepton_compiler.driver import resolve_target

    XGBOOST.require("lepton tune, whose search learns from its trials,")
    from lepton_compiler.evaluation.speed_check import is_default_exact
    from lepton_compiler.tuning.session import TuningRequest, cores_for_trials, plan_session, run_session
    from lepton_compiler.tuning.tuning_report import make_report

    if report_file is not None:
        if dry_run:
            raise click.UsageError("--dry-run measures nothing that --report could show")
        _check_report(report_file, check_writable, force)
    check_gate_options(no_check or dry_run)
    options = replace(compilation, target=target, input_shapes=parse_shapes(input_shapes))
    given = None if inputs_file is None else read_feed(model, options, inputs_file)
    request = TuningRequest(
        model,
        options,
        output,
        learn_from,
        _budget(trials, minutes, early_stop),
        tasks,
        resume,
        _timing(threads, cache, resolve_target(target).l2_bytes),
        builders,
        seed=seed,
    )
    with progress("import") as on_step:
        plan = plan_session(request, on_step)
    report_problems(plan.problems)
    if dry_run:
        _show_plan(plan, output_format)
        return
    if not plan.tasks:
        _show_nothing_to_do(plan, output_format)
        return
    with progress("start") as on_step, LocalDevice(cores_for_trials(threads)) as device:
        result, tuner = run_session(request, plan, device, _teller(on_step))
    check = gate = None
    if not no_check and not result.interrupted:
        check, gate = _check_model(request, plan, tuner, threads, max_error, given)
    report = make_report(plan, result)
    sentences = [*report_sentences(report, output), *gate_sentences(gate)]
    if check is not None:
        sentences += check_sentences(check, is_default_exact=is_default_exact(request, plan))
    if report_file is not None:
        with progress("measure the machine"):
            features = resolve_target(target).cpu_features
            _write_page(report_file, model.name, report, sentences, threads, features)
    if output_format == "json":
        show_json({"report": report, "accuracy": gate_document(gate), "whole_model": check})
    else:
        _show_report(report, sentences, report_file)
    if report.interrupted:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


def _check_model(
    request: TuningRequest, plan: Plan, tuner: Tuner, threads: int, max_error: float | None, given: Any
) -> tuple[TunedModelTimes | None, GateReport | None]:
    """Times and accuracy of the whole model; what is slower in it, or not exact enough, is taken back."""
    times = _check_speed(request, plan, tuner, threads)
    gate = check_accuracy(request, plan, tuner, max_error, given)
    if times is not None and gate is not None and gate.refused:
        # What is shown is what the records now give.
        times = _check_speed(request, plan, tuner, threads, rejects=False)
    return times, gate


def _check_speed(
    request: TuningRequest, plan: Plan, tuner: Tuner, threads: int, *, rejects: bool = True
) -> TunedModelTimes | None:
    """None where sizes are not known."""
    from lepton_compiler.core.errors import InputError
    from lepton_compiler.evaluation.speed_check import hold_model_to_speed

    with progress("time the whole model"):
        try:
            return hold_model_to_speed(request, plan, tuner, threads, rejects=rejects)
        except InputError as error:
            warn(f"the whole model was not timed: {error}")
            return None


def _budget(trials: int | None, minutes: float | None, early_stop: int) -> Any:
    from lepton_compiler.tuning.tuner import Budget

    return Budget(trials, None if minutes is None else minutes * 60, early_stop)


def _timing(threads: int, cache: str, l2_bytes: int) -> Any:
    from lepton_compiler.tuning.measurement import COLD_BYTES, TimingPlan

    return TimingPlan(threads, {"warm": 0, "l2": 2 * l2_bytes, "cold": COLD_BYTES}[cache])


def _teller(on_step: Callable[[str], None]) -> Callable[[TrialEvent], None]:
    """Says how far the search is, with the latest trial."""

    def tell(event: TrialEvent) -> None:
        search = event.search
        times = event.outcome.times
        words = event.outcome.status.value if times is None else f"{times.median_s * 1e6:.1f} us"
        on_step(
            f"{event.seconds / 60:.1f} min, trial {event.trials}: {search.task.title} {words}, "
            f"best {search.gain:.2f} times as fast as the default"
        )

    return tell


def _show_plan(plan: Plan, output_format: str) -> None:
    if output_format == "json":
        show_json(plan_document(plan))
        return
    show_table(None, PLAN_COLUMNS, plan_rows(plan))
    for kernel in plan.skipped:
        click.echo(f"{kernel.name} is not tuned: {kernel.reason}")


def _show_report(report: TuningReport, sentences: list[str], report_file: Path | None) -> None:
    show_table(None, REPORT_COLUMNS, report_rows(report))
    click.echo("\n".join(sentences))
    if report_file is not None:
        click.echo(f"wrote {report_file}")


def _show_nothing_to_do(plan: Plan, output_format: str) -> None:
    if output_format == "json":
        show_json(plan_document(plan))
    else:
        click.echo(f"all {len(plan.known)} kernels have records in {plan.folder}; --resume searches on")


def _check_report(path: Path, check_writable: Callable[..., None], force: bool) -> None:
    check_ending("--report", path, HTML_ENDINGS)
    MATPLOTLIB.require("a page for --report")
    check_writable(path, force=force)


def _write_page(
    path: Path, model: str, report: TuningReport, sentences: list[str], threads: int, cpu_features: tuple[str, ...]
) -> None:
    from lepton_compiler.core.result_files import write_text
    from lepton_compiler.evaluation.machine_probe import measure_peaks
    from lepton_compiler.evaluation.tuning_page import tuning_page

    # The device is this machine, and trials of one thread are timed by its own processor time.
    peaks = measure_peaks(threads, "cpu" if threads == 1 else "wall", cpu_features)
    table = REPORT_COLUMNS, report_rows(report)
    write_text(path, tuning_page(model, report, sentences, table, peaks))
