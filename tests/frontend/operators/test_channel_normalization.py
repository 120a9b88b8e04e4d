"""InstanceNormalization and GroupNormalization against float64, with means that are large beside the deviation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_graphs import dtype_code, run_artifact, save

EPSILON = 1e-5
TOLERANCE = 5e-7
"""Largest error as a share of the output's range: a few roundings of float32, whatever the mean is."""
HALF_TOLERANCE = 2e-3
"""The same where the result is rounded to float16."""


def _run(
    op: str, x: np.ndarray, groups: int, folder: Path, opset: int, shape: tuple[int | str, ...] | None = None
) -> float:
    """Error of the compiled node as a share of the range of what float64 gives."""
    channels, batch = x.shape[1], x.shape[0]
    rng = np.random.default_rng(1)
    scale, bias = (rng.standard_normal(channels).astype(x.dtype) for _ in range(2))
    attributes = {"num_groups": groups} if op == "GroupNormalization" else {}
    node = helper.make_node(op, ["x", "scale", "bias"], ["y"], "norm", epsilon=EPSILON, **attributes)
    shape = shape or x.shape
    path = save(folder / "m.onnx", [node], {"x": (dtype_code(x), shape)}, ["y"], {"scale": scale, "bias": bias}, opset)
    model = onnx.load(path)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", dtype_code(x), shape))
    onnx.save(model, path)
    rows = x.astype(np.float64).reshape(batch, groups, -1)
    centred = rows - rows.mean(2, keepdims=True)
    wanted = (centred / np.sqrt((centred**2).mean(2, keepdims=True) + EPSILON)).reshape(batch, channels, -1)
    factors = (values[:, None].astype(np.float64) for values in (scale, bias))
    wanted = (wanted * next(factors) + next(factors)).reshape(x.shape)
    have = run_artifact(path, {"x": x})
    assert have.dtype == x.dtype
    assert have.shape == x.shape
    return float(np.abs(have - wanted).max() / np.ptp(wanted))


def _values(*shape: int, mean: float) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) + mean).astype(np.float32)


@pytest.mark.parametrize("mean", [0, 10, 1000])
@pytest.mark.parametrize(
    ("op", "groups", "opset"),
    [("InstanceNormalization", 6, 17), ("GroupNormalization", 3, 21)],
)
def test_a_large_mean_costs_no_accuracy(op: str, groups: int, opset: int, mean: float, tmp_path: Path) -> None:
    assert _run(op, _values(2, 6, 19, 17, mean=mean), groups, tmp_path, opset) <= TOLERANCE


def test_a_long_row(tmp_path: Path) -> None:
    assert _run("InstanceNormalization", _values(1, 1, 512, 1024, mean=1000), 1, tmp_path, 17) <= TOLERANCE


@pytest.mark.parametrize("shape", [(2, 4, 37), (1, 4, 3, 5, 6)])
def test_other_numbers_of_axes(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert _run("InstanceNormalization", _values(*shape, mean=100), 4, tmp_path, 17) <= TOLERANCE


def test_symbolic_sizes(tmp_path: Path) -> None:
    x = _values(3, 4, 21, 9, mean=100)
    assert _run("GroupNormalization", x, 2, tmp_path, 21, ("batch", 4, "height", "width")) <= TOLERANCE


@pytest.mark.parametrize("op", ["InstanceNormalization", "GroupNormalization"])
def test_float16_is_computed_in_float32(op: str, tmp_path: Path) -> None:
    x = _values(2, 4, 64, 64, mean=10).astype(np.float16)
    assert _run(op, x, 4, tmp_path, 21) <= HALF_TOLERANCE
