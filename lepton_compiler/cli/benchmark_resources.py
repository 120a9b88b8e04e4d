"""``lepton benchmark --suite --resources``: what compiling and running published networks takes, in one table."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lepton_compiler.cli.rendering import plain, progress, show_json, show_table

EXIT_FAILED = 1


@dataclass(frozen=True)
class ResourceOptions:
    """What the user asked for.

    Attributes:
        names: Models of the suite, or ``("all",)``.
        batch: Size of a batch.
        seed: Seed of the inputs.
        output: JSON file to write.
        force: Whether it may exist.
        markdown: File that gets the table.
    """

    names: tuple[str, ...]
    batch: int
    seed: int
    output: Path | None
    force: bool
    markdown: Path | None


def run_resources(options: ResourceOptions, output_format: str) -> int:
    """Measures, prints and writes; the exit code says whether a model failed.

    Raises:
        LeptonError: Nothing can be measured or written; what fails in one model alone stands in its row.
    """
    from lepton_compiler.core.result_files import check_writable
    from lepton_compiler.evaluation.machine import describe_machine
    from lepton_compiler.evaluation.resources_report import RESOURCES, markdown_table, problems
    from lepton_compiler.evaluation.runner import require_peer
    from lepton_compiler.evaluation.suite.models import select_models
    from lepton_compiler.evaluation.suite_report import write_json
    from lepton_compiler.evaluation.suite_resources import measure_resources

    models = select_models(options.names)
    require_peer("onnxruntime", "a comparison of memory")
    if options.output is not None:
        check_writable(options.output, force=options.force)
    if options.markdown is not None:
        check_writable(options.markdown, force=True)
        RESOURCES.check(options.markdown)
    document: dict[str, Any] = {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": plain(describe_machine(("apache-tvm", "onnxruntime"))),
        "models": [model.name for model in models],
        "batch": options.batch,
        "seed": options.seed,
        "rows": [],
    }
    with progress("start") as on_step:
        for row in measure_resources(models, options.batch, options.seed, on_step):
            document["rows"].append(plain(row))
            if options.output is not None:
                write_json(options.output, document)
    if options.markdown is not None:
        RESOURCES.write(options.markdown, markdown_table(document))
    if output_format == "json":
        show_json(document)
    else:
        _show(document)
    return EXIT_FAILED if problems(document) else 0


def _show(document: dict[str, Any]) -> None:
    from lepton_compiler.evaluation.resources_report import COLUMNS, conditions, problems, row_cells

    show_table("what the suite takes", COLUMNS, [row_cells(row) for row in document["rows"]])
    for problem in problems(document):
        click.echo(problem)
    click.echo(conditions(document))
