"""Values that a model must not be fed: the run says so, where it would have to make a result up.

Either the value contradicts the shape that the model declares for a result, or an index lies outside of its axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from declared_models import declared_model

import lepton_compiler
from lepton_compiler.core.errors import InputError
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.runtime.model import Model

TOLERANCE = 1e-5
LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Values:
    """One node with inputs that fit, and for one of the inputs values that don't."""

    op: str
    inputs: Sequence[np.ndarray | None]
    place: int
    wrong: Sequence[np.ndarray]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 21


BOXES = np.array([[[0, 3 * i, 1, 3 * i + 1] for i in range(4)]], np.float32)

DECLARED = [
    Values("Reshape", [normal(2, 6), ints(3, 4)], 1, [ints(4, 3), ints(-1, 3), ints(-1, -1), ints(0, 6), ints(3, 0)]),
    Values("Reshape", [normal(2, 6), ints(0, -1)], 1, [ints(3, 4), ints(-1, -1), ints(LOWEST, HIGHEST)]),
    Values("Reshape", [normal(0, 3), ints(3, 0)], 1, [ints(0, 3)], {"allowzero": 1}),
    Values("Expand", [normal(3, 1), ints(2, 1, 5)], 1, [ints(2, 3, 4), ints(1, 3, 5), ints(2, 2, 5)]),
    Values("Tile", [normal(2, 3), ints(2, 1)], 1, [ints(1, 2), ints(2, 0), ints(2, -1), ints(HIGHEST, 1)]),
    Values("Squeeze", [normal(1, 3, 1), ints(0, -1)], 1, [ints(0, 1), ints(0, 0), ints(0, 3), ints(LOWEST, HIGHEST)]),
    Values("Unsqueeze", [normal(3, 4), ints(1, -1)], 1, [ints(0, 1), ints(1, 1), ints(1, 9), ints(LOWEST, 1)]),
    Values("ConstantOfShape", [ints(2, 5)], 0, [ints(5, 2), ints(2, -5), ints(HIGHEST, 5)]),
    Values("Range", [np.float32(1.5), np.float32(7), np.float32(2)], 1, [np.float32(7.6), np.float32(5.5)]),
    Values("Range", [np.int64(1), np.int64(7), np.int64(2)], 2, [np.int64(0), np.int64(-2), np.int64(3)]),
    Values("Split", [normal(2, 7), ints(3, 4)], 1, [ints(4, 3), ints(3, 5), ints(-1, 8)], {"axis": 1}, 2),
    Values("OneHot", [ints(0, -1), np.array(4), ints(2, 7)], 1, [np.array(5), np.array(-4)]),
    Values("TopK", [normal(3, 9), ints(4)], 1, [ints(5), ints(3), ints(-4)], {"axis": 1}, 2),
    Values("Slice", [normal(6, 8), ints(-1, 1), ints(0, 7), ints(0, -1), ints(-2, 3)], 2,
           [ints(1, 7), ints(0, 4), ints(HIGHEST, 7)]),
    Values("Slice", [normal(6, 8), ints(1, 100), ints(5, 100)], 1, [ints(0, 100), ints(1, 7), ints(HIGHEST, 100)]),
    Values("Slice", [normal(6, 8), ints(1), ints(5), ints(1)], 3, [ints(0), ints(2), ints(-3)]),
    Values("Slice", [normal(6, 8), ints(1), ints(5), ints(1), ints(2)], 4, [ints(0), ints(-2), ints(1), ints(LOWEST)]),
    Values("Pad", [normal(3, 4), ints(1, 2, 0, 3)], 1, [ints(1, 2, 0, 4), ints(2, 1, 0, 3), ints(HIGHEST, 2, 0, 3)]),
    Values("Pad", [normal(3, 4), ints(2, 1), None, ints(-1)], 3, [ints(0), ints(2)], {"mode": "edge"}),
    Values("ReduceSum", [normal(3, 2, 2), ints(1)], 1, [ints(0), ints(3), ints(HIGHEST)], {"keepdims": 0}),
    Values("ReduceSum", [normal(3, 2), ints(0)], 1, [ints(1), ints(LOWEST)], {"keepdims": 0}),
    Values("CumSum", [normal(3, 4), np.array(0)], 1, [np.array(2), np.array(LOWEST)]),
    Values("CenterCropPad", [normal(5, 8), ints(8, 3)], 1, [ints(8, 4), ints(7, 3)]),
    Values("Resize", [normal(1, 1, 4, 6), None, None, ints(1, 1, 7, 8)], 3, [ints(1, 1, 8, 7)], {"mode": "linear"}),
    Values("Resize", [normal(1, 1, 4, 6), None, np.array([1, 1, 2, 0.5], np.float32)], 2,
           [np.array([1, 1, 2, 1], np.float32), np.array([1, 1, np.nan, 0.5], np.float32)], {"mode": "nearest"}),
    Values("HannWindow", [np.array(5)], 0, [np.array(4), np.array(-5)]),
    Values("AffineGrid", [normal(2, 2, 3), ints(2, 1, 4, 5)], 1, [ints(2, 1, 5, 4), ints(1, 1, 4, 5)], opset=20),
    Values("Col2Im", [normal(1, 20, 1), ints(5, 4), ints(5, 4)], 1, [ints(4, 5), ints(5, 5)], opset=18),
    Values("NonZero", [normal(4, 3) * np.eye(4, 3, dtype=np.float32)], 0,
           [np.zeros((4, 3), np.float32), np.ones((4, 3), np.float32)]),
    Values("Compress", [normal(4, 3), np.array([True, False, True])], 1,
           [np.array([True, False, False]), np.array([True, True, True])], {"axis": 0}),
    Values("NonMaxSuppression", [BOXES, np.array([[[0.9, 0.8, 0.7, 0.6]]], np.float32), ints(3), np.float32([0.5]),
                                 np.float32([0.1])], 2, [ints(2), ints(4), ints(0)]),
    Values("NonMaxSuppression", [BOXES, np.array([[[0.9, 0.8, 0.7, 0.6]]], np.float32), ints(9), np.float32([0.5]),
                                 np.float32([0.65])], 4, [np.float32([0.1]), np.float32([0.75])]),
    Values("Compress", [normal(4, 3), np.array([False, True])], 1, [np.array([False, False])]),
]  # fmt: skip

INDICES = [
    Values("Gather", [normal(4, 3), ints(0, -4, 3)], 1, [ints(0, 4, 0), ints(0, 0, -5), ints(LOWEST, HIGHEST, 0)]),
    Values("GatherElements", [normal(4, 3), ints(0, -4, 3)[None]], 1, [ints(0, 4, 0)[None]]),
    Values("GatherND", [normal(4, 3), np.array([[3, -3]])], 1, [np.array([[2, 3]]), np.array([[-5, 0]])]),
    Values("ScatterElements", [normal(4, 3), ints(1, -1)[:, None], normal(2, 1)], 1, [ints(1, 4)[:, None]]),
    Values("ScatterND", [normal(4, 3), np.array([[3, -3]]), normal(1)], 1, [np.array([[2, 3]]), np.array([[-5, 0]])]),
]


def compiled(path: Path) -> Model:
    compile_model(path, path.with_suffix(".so"), CompileOptions())
    return lepton_compiler.load(path.with_suffix(".so"))


def labelled(cases: Sequence[Values]) -> Iterator[Any]:
    return (pytest.param(case, id=f"{number}-{case.op}") for number, case in enumerate(cases))


def check(case: Values, folder: Path, message: str) -> None:
    """The model gives what is right for values that fit, also after it has refused others."""
    path, feeds, wanted = declared_model(
        case.op,
        [None if value is None else np.asarray(value) for value in case.inputs],
        case.attributes,
        folder,
        opset=case.opset,
        outputs=case.outputs,
    )
    with compiled(path) as model:
        for wrong in case.wrong:
            with pytest.raises(InputError, match=message):
                model(**feeds | {f"x{case.place}": wrong})
            for have, want in zip(model(**feeds).values(), wanted, strict=True):
                np.testing.assert_allclose(have, want, TOLERANCE, TOLERANCE)


@pytest.mark.parametrize("case", labelled(DECLARED))
def test_values_that_contradict_the_declared_shape(case: Values, tmp_path: Path) -> None:
    check(
        case,
        tmp_path,
        r"node node.*(contradicts? the shape|selects another number of elements than the \d+) that the model declares",
    )


@pytest.mark.parametrize("case", labelled(INDICES))
def test_indices_outside_of_their_axis(case: Values, tmp_path: Path) -> None:
    check(case, tmp_path, r"node node.*an index of input 1 of the node lies outside of its axis")
