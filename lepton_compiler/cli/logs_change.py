"""``lepton logs merge`` and ``lepton logs prune``: the verbs that write logs."""

from __future__ import annotations

from pathlib import Path

import click

from lepton_compiler.cli.log_arguments import report_problems
from lepton_compiler.cli.options import file_path, format_option
from lepton_compiler.cli.rendering import progress, show_json


@click.command("merge", short_help="Bring logs of several people or boards together.")
@click.argument("sources", nargs=-1, required=True, type=file_path)
@click.option("-o", "--output", required=True, type=file_path, metavar="FOLDER", help="Root of the logs to append to.")
@click.option("--keep", type=click.IntRange(min=1), default=1, show_default=True, help="Candidates of each kernel.")
@click.option("--all", "everything", is_flag=True, help="Take every record, also of trials that failed.")
@format_option
@click.pass_context
def merge(
    ctx: click.Context, sources: tuple[Path, ...], output: Path, keep: int, everything: bool, output_format: str
) -> None:
    """Appends to FOLDER what it lacks: the best of each kernel and target, with all that says where it is from.

    \b
    Examples:
      lepton logs merge theirs/tuning_logs -o tuning_logs
      lepton logs merge board_a board_b -o merged --keep 5
      lepton logs merge download.jsonl -o tuning_logs --all
    """
    from lepton_compiler.tuning.log_merge import merge_logs

    if everything and ctx.get_parameter_source("keep") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--keep has no effect with --all, which takes every record")
    with progress("merge the logs"):
        report = merge_logs(sources, output, None if everything else keep)
    if output_format == "json":
        show_json(
            {
                "read": report.read,
                "written": {str(path): count for path, count in report.written.items()},
                "problems": [str(problem) for problem in report.problems],
            }
        )
        return
    for path, count in report.written.items():
        click.echo(f"{path}: {count} records appended")
    if not report.written:
        click.echo(f"{output} has it all already: {report.read} records read, none appended")
    report_problems(report.problems)


@click.command("prune", short_help="Drop the trials that a better one dominates.")
@click.argument("paths", nargs=-1, required=True, type=file_path)
@click.option("--keep", type=click.IntRange(min=1), default=1, show_default=True, help="Candidates of each kernel.")
@click.option("--damaged", is_flag=True, help="Drop torn and corrupt lines as well.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@format_option
def prune(paths: tuple[Path, ...], keep: int, damaged: bool, dry_run: bool, output_format: str) -> None:
    """Keeps of each kernel and target the best candidates and the wrong results, folder by folder.

    \b
    Examples:
      lepton logs prune tuning_logs --dry-run
      lepton logs prune tuning_logs/x86-64-v3/resnet50 --keep 10 --damaged
    """
    from lepton_compiler.tuning.log_files import find_logs
    from lepton_compiler.tuning.log_prune import prune_logs

    with progress("prune the logs"):
        report = prune_logs(find_logs(paths), keep, damaged=damaged, dry_run=dry_run)
    if output_format == "json":
        show_json(
            {
                "dry_run": dry_run,
                "kept": report.kept,
                "dropped": report.dropped,
                "damaged": report.damaged,
                "problems": [str(problem) for problem in report.problems],
            }
        )
        return
    going = "would go" if dry_run else "dropped"
    damage = f" and {report.damaged} damaged lines" if damaged else ""
    click.echo(f"{report.dropped} records{damage} {going}, {report.kept} records stay")
    if not damaged:
        report_problems(report.problems)
