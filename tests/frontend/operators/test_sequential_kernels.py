"""Kernels written statement by statement: sorting, running sums, selection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from declared_models import check_declared
from onnx_graphs import Case, Const, check_cases, import_file, run_program, save

RNG = np.random.default_rng(6)


def ints(*values: int) -> Const:
    return Const(np.array(values, np.int64))


def test_top_k(tmp_path: Path) -> None:
    ties = RNG.integers(0, 4, (5, 17)).astype(np.float32)
    distinct = RNG.permutation(4 * 33 * 3).reshape(4, 33, 3)
    cases = [
        Case("TopK", [ties, ints(6)], {"axis": 1}, outputs=2),
        Case("TopK", [ties, ints(17)], {"axis": -1, "largest": 0}, outputs=2),
        Case("TopK", [distinct.astype(np.int64), ints(33)], {"axis": 1}, outputs=2),
        Case("TopK", [distinct.astype(np.float32), ints(1)], {"axis": 1, "largest": 0}, outputs=2),
    ]
    check_cases(cases, tmp_path)


def test_top_k_of_a_symbolic_axis(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node("TopK", ["x", "k"], ["values", "indices"], "top", axis=0)
    inputs = {"x": (TensorProto.FLOAT, ["n", 2])}
    path = save(tmp_path / "top.onnx", [node], inputs, ["values", "indices"], {"k": np.array([3], np.int64)})
    program = import_file(path)
    for rows in (3, 20):
        x = RNG.standard_normal((rows, 2)).astype(np.float32)
        values, indices = run_program(program, {"x": x})
        order = np.argsort(-x, axis=0, kind="stable")[:3]
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_array_equal(values, np.take_along_axis(x, order, 0))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_cumulative_sum(axis: int, reverse: int, exclusive: int, tmp_path: Path) -> None:
    x = RNG.standard_normal((3, 4, 5)).astype(np.float32)
    case = Case("CumSum", [x, Const(np.array(axis))], {"reverse": reverse, "exclusive": exclusive})
    check_cases([case], tmp_path)


def test_nonzero_and_compress(tmp_path: Path) -> None:
    x = np.array([[1, 0, 3], [0, 0, -2]], np.float32)
    check_declared("NonZero", [x], {}, tmp_path)
    check_declared("Compress", [x, np.array([True, False, True])], {"axis": 1}, tmp_path)
    check_declared("Compress", [x, np.array([False, True, True])], {}, tmp_path)


@pytest.mark.parametrize("centred", [0, 1])
def test_non_max_suppression(centred: int, tmp_path: Path) -> None:
    corner = RNG.uniform(0, 1, (2, 12, 2))
    size = RNG.uniform(0.1, 0.6, (2, 12, 2))
    boxes = np.concatenate([corner, size if centred else corner + size], 2).astype(np.float32)
    scores = RNG.permutation(2 * 3 * 12).reshape(2, 3, 12).astype(np.float32) / 72
    limits = [np.array([4], np.int64), np.array([0.3], np.float32), np.array([0.2], np.float32)]
    check_declared("NonMaxSuppression", [boxes, scores, *limits], {"center_point_box": centred}, tmp_path)
