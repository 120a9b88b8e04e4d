"""Sums and means over many elements of one sign against float64, through our schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_graphs import dtype_code, import_file, operators, run_artifact, save

TOLERANCE = 3e-6
"""Largest relative error: a chain of a thousand roundings of float32 that all go one way comes near it."""
SYMBOLIC_TOLERANCE = 1e-5
"""The same where the sizes are symbolic: stages can't be chosen, and the chains of a row grow with it."""
OPSET = 18
REFERENCES = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "GlobalAveragePool": np.mean,
    "ReduceL1": lambda x, axis, keepdims: np.abs(x).sum(axis=axis, keepdims=keepdims),
    "ReduceL2": lambda x, axis, keepdims: np.sqrt((x * x).sum(axis=axis, keepdims=keepdims)),
    "ReduceSumSquare": lambda x, axis, keepdims: (x * x).sum(axis=axis, keepdims=keepdims),
    "ReduceLogSum": lambda x, axis, keepdims: np.log(x.sum(axis=axis, keepdims=keepdims)),
    "ReduceLogSumExp": lambda x, axis, keepdims: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)),
}


def _model(
    op: str, shape: Sequence[int | str], axes: Sequence[int] | None, keepdims: int, folder: Path, dtype: int
) -> Path:
    constants = {} if axes is None else {"axes": np.array(axes, np.int64)}
    attributes = {"keepdims": keepdims} if op.startswith("Reduce") else {}
    node = helper.make_node(op, ["x", *constants], ["y"], "n", **attributes)
    return save(folder / "m.onnx", [node], {"x": (dtype, shape)}, ["y"], constants, OPSET)


def _check(
    op: str,
    shape: Sequence[int],
    axes: Sequence[int] | None,
    folder: Path,
    keepdims: int = 1,
    declared: Sequence[int | str] | None = None,
) -> None:
    x = np.full(shape, 0.1, np.float32)
    path = _model(op, declared or shape, axes, keepdims, folder, dtype_code(x))
    have = run_artifact(path, {"x": x})
    summed = tuple(range(2, x.ndim)) if op.startswith("Global") else None if axes is None else tuple(axes)
    wanted = np.asarray(REFERENCES[op](x.astype(np.float64), axis=summed, keepdims=bool(keepdims)))
    assert have.shape == wanted.shape
    np.testing.assert_allclose(have, wanted, rtol=TOLERANCE if declared is None else SYMBOLIC_TOLERANCE)


@pytest.mark.parametrize(
    ("op", "shape", "axes"),
    [
        pytest.param("ReduceMean", (4, 1000, 1000), None, id="everything"),
        pytest.param("ReduceSum", (1000000,), [0], id="one axis"),
        pytest.param("ReduceSum", (1000003,), None, id="a prime number of elements"),
        pytest.param("ReduceMean", (1000003,), None, id="a mean of a prime number"),
        pytest.param("ReduceSum", (1000000, 4), [0], id="the first axis"),
        pytest.param("ReduceSum", (64, 3, 128, 128), [0, 2, 3], id="all but the channels"),
        pytest.param("ReduceMean", (2, 3, 640, 640), [2, 3], id="several trailing axes"),
        pytest.param("GlobalAveragePool", (1, 3, 640, 640), None, id="an image"),
    ],
)
def test_long_sums_do_not_lose_terms(op: str, shape: tuple[int, ...], axes: list[int] | None, tmp_path: Path) -> None:
    _check(op, shape, axes, tmp_path)


@pytest.mark.parametrize("op", ["ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"])
def test_their_relatives(op: str, tmp_path: Path) -> None:
    _check(op, (1000, 1000), None, tmp_path)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    ("shape", "axes"), [((7, 9), None), ((3, 1000, 50), [0, 1, 2]), ((5, 3000, 2, 600), [1, 3]), ((1, 1, 2000), None)]
)
def test_shapes_of_the_results(shape: tuple[int, ...], axes: list[int] | None, keepdims: int, tmp_path: Path) -> None:
    _check("ReduceSum", shape, axes, tmp_path, keepdims)


@pytest.mark.parametrize("axes", [None, [1, 2], [0, 2], [1]])
def test_symbolic_sizes(axes: list[int] | None, tmp_path: Path) -> None:
    _check("ReduceMean", (3, 200, 170), axes, tmp_path, 0, ("batch", "height", "width"))


def test_sums_that_are_short_stay_one_operator(tmp_path: Path) -> None:
    path = _model("ReduceMean", (2, 8, 49), [2], 1, tmp_path, dtype_code(np.zeros(0, np.float32)))
    assert operators(import_file(path)) == ["relax.mean"]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers_are_exact_in_any_order(dtype: type, tmp_path: Path) -> None:
    x = np.arange(math.prod((300, 70)), dtype=dtype).reshape(300, 70)
    path = _model("ReduceSum", x.shape, None, 0, tmp_path, dtype_code(x))
    assert operators(import_file(path)) == ["relax.sum"]
    assert run_artifact(path, {"x": x}) == x.sum()
