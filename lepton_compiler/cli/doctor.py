"""``lepton doctor``: what this machine can do, what is missing, and the command that installs it."""

from __future__ import annotations

import click

from lepton_compiler.cli.options import format_option
from lepton_compiler.cli.rendering import progress, show_json, show_table

EXIT_UNFIT = 1


@click.command("doctor", short_help="Check what this machine can do and what is missing.")
@format_option
def command(output_format: str) -> None:
    """Checks packages, toolchain, processor, peers and emulators, and names the command that installs what is missing.

    Ends with exit code 1 where something is wrong that compiling and running need.

    \b
    Examples:
      lepton doctor
      lepton doctor --format json
    """
    from lepton_compiler.evaluation.machine_checks import Status, check_machine

    with progress("check") as on_check:
        checks = check_machine(on_check)
    failed = [check for check in checks if check.status is Status.FAILED]
    if output_format == "json":
        show_json(
            [
                {"name": check.name, "status": check.status.value, "detail": check.detail, "remedy": check.remedy}
                for check in checks
            ]
        )
    else:
        rows = [(check.name, check.status.value, check.detail, check.remedy) for check in checks]
        show_table(None, ("what", "", "found", "install with"), rows)
        click.echo(_verdict(len(failed)))
    if failed:
        raise click.exceptions.Exit(EXIT_UNFIT)


def _verdict(failures: int) -> str:
    if failures:
        return f"{failures} of the checks that compiling and running need have failed."
    return "This machine can compile and run models."
