"""A profile and a machine of round numbers, for tests of what is made of them."""

from __future__ import annotations

from lepton_compiler.core.manifest import (
    FORMAT,
    KernelEntry,
    Manifest,
    MemoryEntry,
    ModelEntry,
    TargetEntry,
    WeightsEntry,
)
from lepton_compiler.evaluation.kernel_profile import KernelProfile, ModelProfile
from lepton_compiler.evaluation.machine_probe import ArithmeticPeak, MachinePeaks, MemoryPeak

PEAKS = MachinePeaks(
    threads=1,
    arithmetic=(ArithmeticPeak("float32", "multiply-add", 100.0), ArithmeticPeak("int8", "dot", 400.0)),
    memory=MemoryPeak("read", 1 << 20, 10.0),
    cache=MemoryPeak("triad", 1 << 10, 40.0),
)


def kernel(
    number: int,
    seconds: float,
    flops: int | None,
    moved_bytes: int | None,
    nodes: str = "/conv",
    anchor: str = "convolution",
) -> KernelProfile:
    """One kernel of a run that took ten seconds."""
    entry = KernelEntry(f"kernel_{number}", nodes, anchor, f"{anchor}: tile=1", flops, moved_bytes, "float32", "")
    return KernelProfile(number, entry, seconds, seconds / 10, flops, moved_bytes)


HOSTILE_NODES = '/layer<b>&"$x_{1}^2$\\frac'
"""Markup of HTML and of formulas, which is a legal name of a node."""

PROFILE = ModelProfile(
    manifest=Manifest(
        format=FORMAT,
        compiler_version="0",
        precision="fp32",
        versions={},
        model=ModelEntry("model<1>.onnx", "0" * 64, 17, {}),
        target=TargetEntry("test", "x86_64", ()),
        inputs=(),
        outputs=(),
        symbols=(),
        weights=WeightsEntry(0, None, "0" * 64),
        memory=MemoryEntry(0, 0, 0, None),
        kernels=(),
        passes=(),
    ),
    threads=1,
    runs=3,
    call_seconds=11.0,
    kernels=(
        kernel(1, 3.0, 120, 12),
        kernel(2, 5.0, 400, 8, HOSTILE_NODES),
        kernel(3, 0.5, 0, 40, "/transpose", "elementwise"),
        kernel(4, 1.5, None, None, "/topk", "opaque"),
    ),
)
