"""Col2Im, AffineGrid, DeformConv, TensorScatter, DFT and windows, against ONNX's reference implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from declared_models import check_declared
from onnx_graphs import Case, Const, check_cases

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("attributes", "columns"),
    [({}, 16), ({"pads": [0, 1, 0, 1]}, 24), ({"strides": [2, 2]}, 4), ({"dilations": [2, 1]}, 12)],
)
def test_col2im(attributes: dict[str, Any], columns: int, tmp_path: Path) -> None:
    case = Case("Col2Im", [normal(1, 12, columns), Const(ints(5, 6)), Const(ints(2, 3))], attributes)
    check_cases([case], tmp_path, opset=18)


@pytest.mark.parametrize("corners", [0, 1])
def test_affine_grid(corners: int, tmp_path: Path) -> None:
    check_declared("AffineGrid", [normal(2, 2, 3), ints(2, 3, 5, 6)], {"align_corners": corners}, tmp_path)
    check_declared("AffineGrid", [normal(1, 3, 4), ints(1, 1, 3, 4, 5)], {"align_corners": corners}, tmp_path)


def test_deformable_convolution(tmp_path: Path) -> None:
    x, weight, offset = normal(1, 4, 6, 7), normal(2, 2, 3, 3), normal(1, 2 * 18, 4, 5)
    attributes = {"group": 2, "offset_group": 2, "kernel_shape": [3, 3]}
    check_declared("DeformConv", [x, weight, offset, normal(2)], attributes, tmp_path, tolerance=1e-4)
    mask = RNG.uniform(0, 1, (1, 18, 4, 5)).astype(np.float32)
    check_declared("DeformConv", [x, weight, offset, None, mask], attributes, tmp_path, tolerance=1e-4)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str, tmp_path: Path) -> None:
    starts = ints(1, 4) if mode == "circular" else ints(1, 3)
    arrays = [normal(2, 3, 6, 2), normal(2, 3, 3, 2), starts]
    check_declared("TensorScatter", arrays, {"mode": mode}, tmp_path, opset=24)


@pytest.mark.parametrize(("inverse", "onesided", "parts"), [(0, 0, 2), (0, 1, 1), (1, 0, 2)])
def test_fourier_transform(inverse: int, onesided: int, parts: int, tmp_path: Path) -> None:
    attributes = {"inverse": inverse, "onesided": onesided}
    check_declared("DFT", [normal(2, 10, parts), None, np.array(1)], attributes, tmp_path, tolerance=1e-4)


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_window_function(op: str, periodic: int, tmp_path: Path) -> None:
    check_declared(op, [np.array(11)], {"periodic": periodic}, tmp_path)
