"""``lepton inspect model.so``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.model_argument import make_feed
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

Feed = tuple[Mapping[str, tuple[Dim, ...]], Path | None, int, bool]
"""Input shapes, input file, seed, and whether NaN is allowed."""

_PROFILE_WARMUP = 3
_PROFILE_RUNS = 10


def inspect_artifact(
    path: Path, *, list_kernels: bool, profile: bool, feed: Feed, threads: int | None, as_json: bool
) -> None:
    """Prints what an artifact says of itself; runs it only to profile it."""
    from lepton_compiler.runtime.artifact_file import read_manifest

    manifest = read_manifest(path)
    times = _profile(path, feed, threads) if profile else None
    if as_json:
        document: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size, "manifest": manifest}
        show_json(document | ({} if times is None else {"kernel_seconds": times}))
        return
    _show_facts(path, manifest)
    if times is not None:
        _show_profile(manifest, times)
    elif list_kernels:
        rows = [(str(number), k.nodes, k.schedule) for number, k in enumerate(manifest.kernels, 1)]
        show_table(None, ("#>", "nodes", "schedule"), rows)
    else:
        _show_anchors(manifest)
        _show_passes(manifest)


def _profile(path: Path, feed: Feed, threads: int | None) -> list[float]:
    """Seconds of every kernel call: the median over several runs."""
    import numpy as np

    from lepton_compiler.runtime.model import load

    shapes, inputs_file, seed, allow_nan = feed
    with progress("profile"), load(path, threads=threads) as model:
        values = list(make_feed(model.inputs, shapes, inputs_file, seed, allow_nan=allow_nan).values())
        for _ in range(_PROFILE_WARMUP):
            model(*values)
        runs = [[kernel.seconds for kernel in model.profile(*values)] for _ in range(_PROFILE_RUNS)]
    return [float(seconds) for seconds in np.median(np.array(runs), axis=0)]


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
            ("model", f"{manifest.model.name}, opset {manifest.model.opset}"),
            ("model hash", manifest.model.sha256),
            ("inputs", _tensors(manifest.inputs)),
            ("outputs", _tensors(manifest.outputs)),
            ("symbols", ", ".join(manifest.symbols) or "none: every shape is fixed"),
            ("weights", f"{bytes_text(weights.bytes)} {place}"),
            ("arena", f"{bytes_text(memory.arena_bytes)}, {bound}{symbol_values_text(manifest)}"),
            ("workspace", f"{bytes_text(memory.thread_workspace_bytes)} a thread"),
            ("kernels", f"{len(manifest.kernels)} calls of {len({k.name for k in manifest.kernels})} kernels"),
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


def _show_profile(manifest: Manifest, times: list[float]) -> None:
    total = sum(times) or 1.0
    ranked = sorted(zip(times, manifest.kernels, strict=True), key=lambda pair: -pair[0])
    rows = [(f"{100 * t / total:.1f} %", f"{t * 1e3:.3f}", k.nodes, k.schedule) for t, k in ranked]
    show_table(None, ("share>", "ms>", "nodes", "schedule"), rows)
    click.echo(f"{total * 1e3:.3f} ms in {len(times)} kernel calls; medians of {_PROFILE_RUNS} runs")
