"""Which kernels of two libraries are compared: those that compute the same nodes in another way."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from lepton_compiler.core.manifest import KernelEntry
from lepton_compiler.evaluation import tuned_model


def kernel(name: str, nodes: str, schedule: str, seconds: float) -> SimpleNamespace:
    return SimpleNamespace(entry=KernelEntry(name, nodes, "any", schedule, 1, 1, "float32", ""), seconds=seconds)


DEFAULT = (
    kernel("fused_winograd4_conv2d_relu", "a+r", "winograd: tiles=7", 5.0),
    kernel("fused_conv2d_relu", "b", "packed: rows=1", 1.0),
    kernel("fused_conv2d_relu_1", "c", "packed: rows=2", 2.0),
    kernel("fused_conv2d_relu_1", "d", "packed: rows=2", 3.0),
    kernel("only_here", "e", "generic", 1.0),
)
TUNED = (
    # Another algorithm, which takes the first number of the equal names.
    kernel("fused_conv2d_relu", "a+r", "packed: rows=7", 4.0),
    kernel("fused_conv2d_relu_1", "b", "packed: rows=1", 1.0),
    # Other knobs.
    kernel("fused_conv2d_relu_2", "c", "packed: rows=4", 1.5),
    kernel("fused_conv2d_relu_2", "d", "packed: rows=4", 2.5),
    kernel("only_there", "f", "generic", 1.0),
)


def test_kernels_are_matched_by_what_they_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = {Path("default"): DEFAULT, Path("tuned"): TUNED}
    monkeypatch.setattr(tuned_model, "profile_model", lambda file, *others: SimpleNamespace(kernels=profiles[file]))
    times = tuned_model._time_kernels({"default": Path("default"), "tuned": Path("tuned")}, {}, 1)
    assert times == {"fused_winograd4_conv2d_relu": (5.0, 4.0), "fused_conv2d_relu_1": (5.0, 4.0)}
