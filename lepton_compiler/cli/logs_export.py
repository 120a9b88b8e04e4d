"""``lepton logs export``: records for other programs, as one JSON document or a CSV table."""

from __future__ import annotations

from pathlib import Path

import click

from lepton_compiler.cli.log_arguments import LogFilter, filter_options, paths_argument, read, report_problems
from lepton_compiler.cli.options import file_path


@click.command("export", short_help="Write records as JSON or CSV.")
@paths_argument
@filter_options
@click.option("-o", "--output", type=file_path, metavar="FILE", help="File to write; standard output if left out.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["json", "csv"]),
    help="One JSON document or a CSV table; by the ending of FILE if left out, else json.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
def export(
    paths: tuple[Path, ...], log_filter: LogFilter, output: Path | None, output_format: str | None, force: bool
) -> None:
    """Writes the records with their file and line: all fields as JSON, or one row a record as CSV.

    \b
    Examples:
      lepton logs export -o trials.csv
      lepton logs export --target native --format json
    """
    from lepton_compiler.core.result_files import check_writable, write_text
    from lepton_compiler.tuning.log_export import as_csv, as_json

    if force and output is None:
        raise click.UsageError("--force has no effect without -o")
    if output is not None:
        check_writable(output, force=force)
    contents = read(paths)
    entries = log_filter.apply(contents.entries)
    suffix = output.suffix.lower() if output is not None else ""
    is_csv = output_format == "csv" or (output_format is None and suffix == ".csv")
    text = (as_csv if is_csv else as_json)(entries)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
        click.echo(f"{output}: {len(entries)} records")
    report_problems(contents.problems)
