"""``lepton passes``: what the compiler does to a program, in order."""

from __future__ import annotations

import click

from lepton_compiler.cli.options import format_option
from lepton_compiler.cli.rendering import progress, show_json, show_table
from lepton_compiler.core.options import CompileOptions


@click.command("passes", short_help="List the compiler passes in order.")
@format_option
def command(output_format: str) -> None:
    """Lists the passes in the order in which they run, and which of them --disable-pass takes.

    \b
    Examples:
      lepton passes
      lepton passes --format json
    """
    with progress("load the compiler"):
        from lepton_compiler.pipeline import build_pipeline

        plans = build_pipeline(CompileOptions())
    passes = [
        {"name": pass_.name(), "stage": plan.stage.name, "required": pass_.required, "summary": pass_.summary()}
        for plan in plans
        for pass_ in plan.passes
    ]
    if output_format == "json":
        show_json(passes)
        return
    rows = [
        (str(number), entry["name"], entry["stage"], "required" if entry["required"] else "optional", entry["summary"])
        for number, entry in enumerate(passes, 1)
    ]
    show_table(None, ("#>", "pass", "leads to", "", "what it does"), rows)
