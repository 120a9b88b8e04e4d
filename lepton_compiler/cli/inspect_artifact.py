"""``lepton inspect model.so``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.kernel_table import kernel_columns, kernel_rows, profile_summary
from lepton_compiler.cli.kernel_tuning import tuned_kernels, tuned_text
from lepton_compiler.cli.model_argument import make_feed
from lepton_compiler.cli.precision_text import precision_text
from lepton_compiler.cli.rendering import (
    bytes_text,
    progress,
    shape_text,
    show_facts,
    show_json,
    show_table,
    symbol_values_text,
)
from lepton_compiler.core.options import Dim

if TYPE_CHECKING:
    from lepton_compiler.core.manifest import Manifest, TensorEntry
    from lepton_compiler.evaluation.kernel_profile import ModelProfile

Feed = tuple[Mapping[str, tuple[Dim, ...]], Path | None, int, bool]
"""Input shapes, input file, seed, and whether NaN is allowed."""

_PROFILE_RUNS = 10


def inspect_artifact(
    path: Path, *, list_kernels: bool, profile: bool, feed: Feed, threads: int | None, as_json: bool
) -> None:
    """Prints what an artifact says of itself; runs it only to profile it."""
    from lepton_compiler.runtime.artifact_file import read_manifest

    manifest = read_manifest(path)
    measured = _profile(path, feed, threads) if profile else None
    if as_json:
        document: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size, "manifest": manifest}
        if measured is not None:
            document["kernel_seconds"] = [kernel.seconds for kernel in measured.kernels]
        show_json(document)
        return
    _show_facts(path, manifest)
    if measured is not None:
        _show_profile(measured)
    elif list_kernels:
        rows = [(str(number), k.nodes, k.schedule, k.in_place) for number, k in enumerate(manifest.kernels, 1)]
        show_table(None, ("#>", "nodes", "schedule", "result written"), rows)
    else:
        _show_anchors(manifest)
        _show_passes(manifest)


def _profile(path: Path, feed: Feed, threads: int | None) -> ModelProfile:
    """Each kernel's time, and the work that it has to do."""
    from lepton_compiler.evaluation.kernel_profile import profile_model
    from lepton_compiler.runtime.model import load

    shapes, inputs_file, seed, allow_nan = feed
    with progress("profile"):
        with load(path, threads=threads) as model:
            values = make_feed(model.inputs, shapes, inputs_file, seed, allow_nan=allow_nan)
        return profile_model(path, values, threads, _PROFILE_RUNS)


def _show_facts(path: Path, manifest: Manifest) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    weights = manifest.weights
    memory = manifest.memory
    bound = f"lower bound {bytes_text(memory.lower_bound_bytes)}"
    place = f"in {weights.file}, SHA-256 {weights.sha256}" if weights.file else "inside the library"
    show_facts(
        [
            ("artifact", f"{path.name}, {bytes_text(path.stat().st_size)}, format {manifest.format}"),
            ("compiled by", f"Lepton {manifest.compiler_version} ({versions})"),
            ("target", f"{manifest.target.name} ({manifest.target.architecture})"),
            ("needs", ", ".join(manifest.target.cpu_features) or "no special processor features"),
            ("precision", precision_text(manifest)),
            ("model", f"{manifest.model.name}, opset {manifest.model.opset}"),
            ("model hash", manifest.model.sha256),
            ("inputs", _tensors(manifest.inputs)),
            ("outputs", _tensors(manifest.outputs)),
            ("symbols", ", ".join(manifest.symbols) or "none: every shape is fixed"),
            ("weights", f"{bytes_text(weights.bytes)} {place}"),
            ("arena", f"{bytes_text(memory.arena_bytes)}, {bound}{symbol_values_text(manifest)}"),
            ("workspace", f"{bytes_text(memory.thread_workspace_bytes)} a thread"),
            ("kernels", f"{len(manifest.kernels)} calls of {len({k.name for k in manifest.kernels})} kernels"),
            *([("tuned", tuned_text(manifest))] if tuned_kernels(manifest) else []),
            ("in place", f"{sum(k.in_place.startswith('over ') for k in manifest.kernels)} calls"),
        ]
    )


def _tensors(entries: tuple[TensorEntry, ...]) -> str:
    return ", ".join(f"{entry.name} {entry.dtype} {shape_text(entry.shape)}" for entry in entries)


def _show_anchors(manifest: Manifest) -> None:
    counts = Counter(kernel.anchor for kernel in manifest.kernels)
    show_table(None, ("anchor", "kernel calls>"), [(anchor, str(n)) for anchor, n in counts.most_common()])


def _show_passes(manifest: Manifest) -> None:
    rows = [(p.name, p.stage, str(len(p.rewrites)), str(len(p.declines))) for p in manifest.passes]
    show_table(None, ("pass", "stage", "rewrites>", "declined>"), rows)


def _show_profile(profile: ModelProfile) -> None:
    show_table(None, kernel_columns(None), kernel_rows(profile.ranked(), None))
    click.echo("\n".join(profile_summary(profile)))
