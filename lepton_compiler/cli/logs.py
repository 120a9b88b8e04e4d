"""``lepton logs``: tuning logs listed, shown, merged, pruned, checked and exported. None of it imports TVM unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lepton_compiler.cli.log_arguments import LogFilter, filter_options, paths_argument, read, report_problems
from lepton_compiler.cli.log_tables import OUTCOME_COLUMNS, entry_json, outcome_cells, place_text, target_json
from lepton_compiler.cli.logs_change import merge, prune
from lepton_compiler.cli.logs_export import export
from lepton_compiler.cli.logs_verify import verify
from lepton_compiler.cli.options import format_option
from lepton_compiler.cli.rendering import bytes_text, show_json, show_table, warn
from lepton_compiler.tuning.record import Status


@click.group("logs", short_help="List, show, merge, prune, check and export tuning logs.")
def command() -> None:
    """Works with tuning logs: what was tried for kernels, how fast it was, and where it was measured.

    \b
    Examples:
      lepton logs list
      lepton logs best --target native
      lepton logs merge theirs/tuning_logs -o tuning_logs
    """


@command.command("list", short_help="List logs by target and model.")
@paths_argument
@format_option
def list_logs(paths: tuple[Path, ...], output_format: str) -> None:
    """Lists targets and models that there are logs of, with the number of records.

    \b
    Examples:
      lepton logs list
      lepton logs list tuning_logs theirs.jsonl --format json
    """
    from lepton_compiler.tuning.log_inventory import take_inventory

    contents = read(paths)
    inventory = take_inventory(contents)
    if output_format == "json":
        show_json(inventory)
        return
    rows = [
        (
            item.target,
            item.model,
            str(item.files),
            bytes_text(item.bytes),
            str(item.kernels),
            str(item.records),
            str(item.ok),
            str(item.records - item.ok),
            item.last,
        )
        for item in inventory
    ]
    columns = ("target", "model", "files>", "size>", "kernels>", "records>", "ok>", "failed>", "last")
    show_table(None, columns, rows)
    report_problems(contents.problems)


@command.command("show", short_help="Show records.")
@paths_argument
@filter_options
@click.option("--status", type=click.Choice([item.value for item in Status]), help="Only trials that ended so.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Records to show, the last ones."
)
@format_option
def show(paths: tuple[Path, ...], log_filter: LogFilter, status: str | None, limit: int, output_format: str) -> None:
    """Shows the records one by one, in the order in which they stand.

    \b
    Examples:
      lepton logs show --anchor winograd
      lepton logs show --status crash --format json
      lepton logs show tuning_logs/x86-64-v3/resnet50 --workload w1-0123
    """
    contents = read(paths)
    entries = log_filter.apply(contents.entries)
    if status is not None:
        entries = [entry for entry in entries if entry.record.outcome.status.value == status]
    left_out, entries = max(0, len(entries) - limit), entries[-limit:]
    if output_format == "json":
        show_json([entry_json(entry) for entry in entries])
    else:
        rows = [(entry.record.time, *outcome_cells(entry.record), place_text(entry)) for entry in entries]
        show_table(None, ("time", *OUTCOME_COLUMNS, "where"), rows)
    if left_out:
        warn(f"{left_out} earlier records are not shown; --limit raises the number")
    report_problems(contents.problems)


@command.command("best", short_help="Show the best record of each kernel.")
@paths_argument
@filter_options
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="Candidates of each kernel.")
@format_option
def best(paths: tuple[Path, ...], log_filter: LogFilter, top: int, output_format: str) -> None:
    """Shows the fastest right candidates of each kernel and target, and how many trials there were.

    \b
    Examples:
      lepton logs best
      lepton logs best --target native --top 3
      lepton logs best --format json
    """
    from lepton_compiler.tuning.database import Database

    contents = read(paths)
    database = Database(log_filter.applied(contents))
    found: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for kernel in database.kernels():
        trials, order = len(database.trials(*kernel)), database.ranked(kernel)[:top]
        found.append(
            {
                "workload": kernel.workload,
                "target": target_json(kernel.target),
                "trials": trials,
                "best": [entry_json(entry) for entry in order],
            }
        )
        rows += [(*outcome_cells(entry.record), str(trials), place_text(entry)) for entry in order]
    if output_format == "json":
        show_json(found)
    else:
        show_table(None, (*OUTCOME_COLUMNS, "trials>", "where"), rows)
    untuned = sum(not item["best"] for item in found)
    if untuned:
        warn(f"{untuned} kernels have no right candidate; `lepton logs show` has their trials")
    report_problems(contents.problems)


for _subcommand in (merge, prune, verify, export):
    command.add_command(_subcommand)
