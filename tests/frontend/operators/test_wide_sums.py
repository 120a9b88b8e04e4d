"""Convolutions, sums and means of 16-bit floats against float64: summed in float32, rounded once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper
from onnx_graphs import CONTRIB, dtype_code, run_artifact, save

ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Largest relative error of rounding to the type (half of the distance of two neighbours)."""
SLACK = 1.02
"""What float32 sums of thousands of terms add to that one rounding."""
RNG = np.random.default_rng(0)


def _random(dtype: str, *shape: int) -> np.ndarray:
    """Values of one sign, so that a sum in 16 bits stands still long before its end."""
    return RNG.uniform(0, 1, shape).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16)


def _run(
    op: str,
    inputs: list[np.ndarray],
    shape: tuple[int, ...],
    folder: Path,
    constants: tuple[np.ndarray, ...] = (),
    attributes: Mapping[str, Any] | None = None,
    domain: str = "",
) -> np.ndarray:
    feeds = {f"x{i}": value for i, value in enumerate(inputs)}
    known = {f"c{i}": value for i, value in enumerate(constants)}
    node = helper.make_node(op, [*feeds, *known], ["y"], "n", domain=domain, **attributes or {})
    types = {name: (dtype_code(value), value.shape) for name, value in feeds.items()}
    path = save(folder / "m.onnx", [node], types, ["y"], known, 18 if domain != CONTRIB else 17)
    model = onnx.load(path)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", dtype_code(inputs[0]), shape))
    onnx.save(model, path)
    return run_artifact(path, feeds)


def _assert_rounded_once(have: np.ndarray, wanted: np.ndarray, dtype: str) -> None:
    assert str(have.dtype) == dtype
    error = np.abs(have.astype(np.float64) - wanted) / np.abs(wanted)
    assert error.max() <= SLACK * ROUNDING[dtype]


def _convolved(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    windows = sliding_window_view(x.astype(np.float64), weight.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight.astype(np.float64))


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("constant", [True, False])
def test_convolution(dtype: str, constant: bool, tmp_path: Path) -> None:
    x, weight = _random(dtype, 1, 256, 7, 6), _random(dtype, 8, 256, 5, 5)
    wanted = _convolved(x, weight)
    inputs, constants = ([x], (weight,)) if constant else ([x, weight], ())
    _assert_rounded_once(_run("Conv", inputs, wanted.shape, tmp_path, constants), wanted, dtype)


def test_convolution_with_bias_and_activation(tmp_path: Path) -> None:
    x, weight, bias = _random("float16", 1, 64, 6, 6), _random("float16", 4, 64, 3, 3), _random("float16", 4)
    wanted = _convolved(x, weight) + bias.astype(np.float64)[:, None, None]
    have = _run("FusedConv", [x], wanted.shape, tmp_path, (weight, bias), {"activation": "Relu"}, CONTRIB)
    _assert_rounded_once(have, wanted, "float16")


@pytest.mark.parametrize("dtype", ROUNDING)
def test_transposed_convolution(dtype: str, tmp_path: Path) -> None:
    x, weight = _random(dtype, 1, 256, 6, 6), _random(dtype, 256, 4, 5, 5)
    mirrored = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    wanted = _convolved(np.pad(x, [(0, 0), (0, 0), (4, 4), (4, 4)]), mirrored)
    _assert_rounded_once(_run("ConvTranspose", [x], wanted.shape, tmp_path, (weight,)), wanted, dtype)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "GlobalAveragePool"])
def test_sums_and_means(op: str, dtype: str, tmp_path: Path) -> None:
    x = _random(dtype, 2, 3, 80, 75)
    total = x.astype(np.float64).sum((2, 3), keepdims=True)
    wanted = total if op == "ReduceSum" else total / 6000
    constants = (np.array([2, 3], np.int64),) if op.startswith("Reduce") else ()
    _assert_rounded_once(_run(op, [x], wanted.shape, tmp_path, constants), wanted, dtype)


def test_sums_of_products(tmp_path: Path) -> None:
    a, b = _random("float16", 3, 4000), _random("float16", 4000, 5)
    wanted = (a.astype(np.float64) @ b.astype(np.float64)).T
    have = _run("Einsum", [a], wanted.shape, tmp_path, (b,), {"equation": "ij,jk->ki"})
    _assert_rounded_once(have, wanted, "float16")
