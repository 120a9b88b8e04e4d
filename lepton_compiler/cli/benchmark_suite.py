"""``lepton benchmark --suite``: published networks beside peers, in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.rendering import plain, progress, shape_text, show_json, show_table, warn, warn_of_load

if TYPE_CHECKING:
    from lepton_compiler.evaluation.machine import MachineDescription
    from lepton_compiler.evaluation.suite_benchmark import SuiteRequest, SuiteRow

TIMED_PACKAGES = ("apache-tvm", "onnxruntime", "openvino", "numpy")
"""Packages whose versions belong to a measurement."""

EXIT_FAILED = 1
_MOST_THREADS = 2


@dataclass(frozen=True)
class SuiteOptions:
    """What the user asked for.

    Attributes:
        names: Models of the suite, or ``("all",)``.
        peers: Peers; None for every rival that is installed.
        threads: Numbers of threads; None for one and two.
        rounds: Samples of each runner.
        warmup: Calls of each before the first sample.
        batch: Size of a batch.
        symbolic_batch: Whether models are compiled for any batch.
        seed: Seed of the inputs.
        output: JSON file to write.
        force: Whether it may exist.
        markdown: File that gets the table.
        precision: What the models are compiled to.
    """

    names: tuple[str, ...]
    peers: tuple[str, ...] | None
    threads: tuple[int, ...] | None
    rounds: int
    warmup: int
    batch: int
    symbolic_batch: bool
    seed: int
    output: Path | None
    force: bool
    markdown: Path | None
    precision: str


def list_suite(output_format: str) -> None:
    """Prints the suite's models with their inputs."""
    from lepton_compiler.evaluation.suite.models import SUITE

    if output_format == "json":
        show_json([{"name": m.name, "title": m.title, "inputs": m.batch_shapes(1)} for m in SUITE.values()])
        return
    rows = []
    for model in SUITE.values():
        inputs = ", ".join(f"{name} {shape_text(shape)}" for name, shape in model.batch_shapes(1).items())
        rows.append((model.name, model.title, inputs))
    show_table(None, ("name", "model", "inputs at batch 1"), rows)


def warn_of_precisions(precision: str, peers: Sequence[str]) -> None:
    """Says which peers compute in another precision, so that their times don't compare like with like."""
    from lepton_compiler.evaluation.runner import PEERS, is_of_precision

    for name in peers:
        if not is_of_precision(PEERS[name], precision):
            warn(
                f"{name} computes in {PEERS[name].precision}, Lepton in {precision}: the precisions differ, so that "
                "their times don't compare like with like"
            )


def run_suite(options: SuiteOptions, output_format: str) -> int:
    """Measures, prints and writes; the exit code says whether a model failed.

    Raises:
        LeptonError: Nothing can be measured or written; what fails in one model alone stands in its row.
    """
    from lepton_compiler.evaluation.machine import describe_machine
    from lepton_compiler.evaluation.suite_report import SUITE_TABLE, markdown_table, problems, summary_line

    request = _request(options)
    _check_files(options)
    document = _document(request, describe_machine(TIMED_PACKAGES))
    with progress("start") as on_step:
        for row in _measured(request, on_step):
            document["rows"].append(plain(row))
            click.echo(summary_line(document["rows"][-1]), err=True)
            # After every row: what is measured stays when the run is broken off.
            _write(options, document)
    if options.markdown is not None:
        SUITE_TABLE.write(options.markdown, markdown_table(document))
    if output_format == "json":
        show_json(document)
    else:
        _show(document)
    return EXIT_FAILED if problems(document) else 0


def _request(options: SuiteOptions) -> SuiteRequest:
    """Everything that can be wrong about a run is found here."""
    from lepton_compiler.evaluation.benchmark import require_processors
    from lepton_compiler.evaluation.machine import processors_for
    from lepton_compiler.evaluation.runner import installed_rivals, require_peer
    from lepton_compiler.evaluation.suite.models import select_models
    from lepton_compiler.evaluation.suite_benchmark import SuiteRequest

    models = select_models(options.names)
    peers = installed_rivals(options.precision) if options.peers is None else options.peers
    for name in peers:
        require_peer(name, f"a benchmark against {name}")
    if not peers and options.peers is None:
        warn("no peer is installed, so that there is nothing to compare with: pip install 'lepton-compiler[peers]'")
    warn_of_precisions(options.precision, peers)
    threads = options.threads or tuple(range(1, len(processors_for(_MOST_THREADS)) + 1))
    require_processors(max(threads))
    return SuiteRequest(
        models,
        peers,
        threads,
        options.batch,
        options.rounds,
        options.warmup,
        options.seed,
        options.precision,
        options.symbolic_batch,
    )


def _check_files(options: SuiteOptions) -> None:
    from lepton_compiler.core.result_files import check_writable
    from lepton_compiler.evaluation.suite_report import SUITE_TABLE

    if options.output is not None:
        check_writable(options.output, force=options.force)
    if options.markdown is not None:
        check_writable(options.markdown, force=True)
        SUITE_TABLE.check(options.markdown)


def _document(request: SuiteRequest, machine: MachineDescription) -> dict[str, Any]:
    """The document before its first row."""
    import datetime

    from lepton_compiler.evaluation.runner import PEERS

    warn_of_load(machine)
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": plain(machine),
        "models": [model.name for model in request.models],
        "threads": list(request.threads),
        "batch": request.batch,
        "precision": request.precision,
        "symbolic_batch": request.symbolic_batch,
        "rounds": request.rounds,
        "warmup": request.warmup,
        "seed": request.seed,
        "peers": {name: PEERS[name].what for name in request.peers},
        "rows": [],
    }


def _measured(request: SuiteRequest, on_step: Callable[[str], None]) -> Iterator[SuiteRow]:
    from lepton_compiler.evaluation.suite_benchmark import measure_suite

    return measure_suite(request, on_step)


def _write(options: SuiteOptions, document: dict[str, Any]) -> None:
    from lepton_compiler.evaluation.suite_report import write_json

    if options.output is not None:
        write_json(options.output, document)


def _show(document: dict[str, Any]) -> None:
    from lepton_compiler.evaluation.suite_report import column_names, conditions, problems, ratio_notes, row_cells

    rows = [row_cells(row, list(document["peers"])) for row in document["rows"]]
    show_table(f"suite: {document['rounds']} interleaved rounds", column_names(document), rows)
    for line in (*ratio_notes(document), *problems(document)):
        click.echo(line)
    click.echo(conditions(document))
