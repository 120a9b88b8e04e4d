"""``lepton logs verify``: every line of the logs, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from lepton_compiler.cli.log_arguments import paths_argument, read
from lepton_compiler.cli.options import format_option
from lepton_compiler.cli.rendering import progress, show_json, show_table

_EXIT_PROBLEMS = 1


@click.command("verify", short_help="Check every line.")
@paths_argument
@click.option("--knobs", is_flag=True, help="Also whether this version's schedules take the knobs; loads the compiler.")
@format_option
@click.pass_context
def verify(ctx: click.Context, paths: tuple[Path, ...], knobs: bool, output_format: str) -> None:
    """Checks every line and lists those that are skipped: torn, corrupt, or of a newer format. Exit code 1 says so.

    \b
    Examples:
      lepton logs verify
      lepton logs verify tuning_logs/x86-64-v3 --knobs
      lepton logs verify theirs.jsonl --format json
    """
    contents = read(paths)
    entries, problems = contents.entries, list(contents.problems)
    if knobs:
        with progress("load the schedules"):
            from lepton_compiler.tuning.knob_check import why_knobs_do_not_fit
        from lepton_compiler.tuning.database import split_by_knobs

        fitting, unfit = split_by_knobs(entries, why_knobs_do_not_fit)
        entries, problems = tuple(fitting), problems + unfit
    logs = {item.log for item in (*contents.entries, *contents.problems)}
    if output_format == "json":
        found = [{"kind": p.kind.value, "log": str(p.log), "line": p.line, "reason": p.reason} for p in problems]
        show_json({"files": len(logs), "records": len(entries), "problems": found})
    else:
        if problems:
            rows = [(p.kind.value, f"{p.log}:{p.line}", p.reason) for p in problems]
            show_table(None, ("what", "where", "why"), rows)
        kinds = Counter(problem.kind.value for problem in problems)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no problem"
        click.echo(f"{len(logs)} files, {len(entries)} good records, {counts}")
    ctx.exit(_EXIT_PROBLEMS if problems else 0)
