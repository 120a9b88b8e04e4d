"""MatMulInteger, QLinearMatMul, ConvInteger and QLinearConv against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import Case, Const, check_cases

RNG = np.random.default_rng(8)


def quantized(*shape: int, dtype: str = "uint8") -> np.ndarray:
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max + 1, shape).astype(dtype)


def scalar(value: float, dtype: str = "float32") -> Const:
    return Const(np.array(value, dtype))


def test_matmul_integer(tmp_path: Path) -> None:
    a, b = quantized(4, 9), quantized(9, 5, dtype="int8")
    cases = [
        Case("MatMulInteger", [a, b]),
        Case("MatMulInteger", [a, b, scalar(131, "uint8"), scalar(-3, "int8")]),
        Case("MatMulInteger", [a, b, scalar(7, "uint8"), Const(quantized(5, dtype="int8"))]),
    ]
    check_cases(cases, tmp_path)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_qlinear_matmul(dtype: str, tmp_path: Path) -> None:
    a, b = quantized(2, 4, 8, dtype=dtype), quantized(2, 8, 3, dtype=dtype)
    zeros = [scalar(value, dtype) for value in (3, 5, 9)]
    inputs = [a, scalar(0.02), zeros[0], b, scalar(0.03), zeros[1], scalar(0.2), zeros[2]]
    # One step of the result's scale: sums that fall on a half may be rounded either way.
    check_cases([Case("QLinearMatMul", inputs)], tmp_path, atol=1)


def test_integer_convolutions(tmp_path: Path) -> None:
    x, w = quantized(1, 3, 7, 8), quantized(4, 3, 3, 3)
    zero_x, zero_w, zero_y = (scalar(value, "uint8") for value in (120, 130, 128))
    bias = Const(RNG.integers(-500, 500, 4).astype(np.int32))
    cases = [
        Case("ConvInteger", [x, w, zero_x], {"pads": [1, 1, 1, 1]}),
        Case("ConvInteger", [x, w, zero_x, zero_w], {"strides": [2, 2]}),
    ]
    check_cases(cases, tmp_path)
    inputs = [x, scalar(0.02), zero_x, Const(w), scalar(0.01), zero_w, scalar(0.5), zero_y, bias]
    check_cases([Case("QLinearConv", inputs, {"pads": [1, 1, 1, 1]})], tmp_path, atol=1)
