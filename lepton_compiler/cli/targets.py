"""``lepton targets``: what models can be compiled for."""

from __future__ import annotations

import click

from lepton_compiler.cli.options import format_option
from lepton_compiler.cli.rendering import bytes_text, show_json, show_table
from lepton_compiler.targets.registry import TARGETS, UnknownTargetError, native_target, runs_here


def _native_name() -> str | None:
    try:
        return native_target().name
    except UnknownTargetError:
        return None


@click.command("targets", short_help="List the targets, and which of them run here.")
@format_option
def command(output_format: str) -> None:
    """Lists the targets and says which of them this machine can run.

    \b
    Examples:
      lepton targets
      lepton targets --format json
    """
    native = _native_name()
    if output_format == "json":
        show_json(
            [
                {
                    "name": spec.name,
                    "architecture": spec.architecture.value,
                    "description": spec.description,
                    "vector_bits": spec.vector_bits,
                    "bfloat16_products": spec.has_bfloat16_dot,
                    "cpu_features": spec.cpu_features,
                    "runs_here": runs_here(spec),
                    "native": spec.name == native,
                }
                for spec in TARGETS.values()
            ]
        )
        return
    rows = [
        (
            spec.name,
            spec.architecture.value,
            f"{spec.vector_bits} bits",
            bytes_text(spec.l2_bytes),
            "yes" if spec.has_bfloat16_dot else "no",
            "native" if spec.name == native else "yes" if runs_here(spec) else "no",
            spec.description,
        )
        for spec in TARGETS.values()
    ]
    show_table(None, ("target", "architecture", "vectors>", "L2>", "bf16", "runs here", "what it is"), rows)
