"""Indices, lengths and divisors that a model must not hold: no run may read or write foreign memory, or stop.

What a run must give is exact, so an element that came from, or went to, a wrong place shows. A run with such numbers
fails; what works with them must be safe by itself, and is looked at here without the checks beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import Const, dtype_code, import_file, run_program, save

from lepton_compiler.core.errors import UnsupportedOperatorError
from lepton_compiler.frontend import run_time_checks

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
HOSTILE = np.array([LOWEST, -(1 << 40), -5, -1, 0, 3, 4, 1 << 40, HIGHEST], np.int64)
DATA = np.arange(1, 13, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the kernels out that look at values before others work with them."""
    monkeypatch.setattr(run_time_checks, "_emit_check", lambda *_: None)


UNCHECKED = pytest.mark.usefixtures("unchecked")


def run_node(
    op: str, inputs: list[Any], attributes: Mapping[str, Any], shape: tuple[int, ...], folder: Path, opset: int = 18
) -> np.ndarray:
    """Runs one node, with the declared output shape, whose inputs are fed at run time unless they are ``Const``."""
    constants = {f"x{i}": value.value for i, value in enumerate(inputs) if isinstance(value, Const)}
    feeds = {f"x{i}": value for i, value in enumerate(inputs) if isinstance(value, np.ndarray)}
    node = helper.make_node(op, [f"x{i}" if v is not None else "" for i, v in enumerate(inputs)], ["y"], "n",
                            **attributes)  # fmt: skip
    path = save(
        folder / "m.onnx",
        [node],
        {name: (dtype_code(v), v.shape) for name, v in feeds.items()},
        ["y"],
        constants,
        opset,
    )
    model = onnx.load(path)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", dtype_code(next(iter(feeds.values()))), shape))
    onnx.save(model, path)
    (result,) = run_program(import_file(path), feeds)
    assert result.shape == shape
    return result


def on_axis(index: np.ndarray, size: int) -> np.ndarray:
    """Negative indices count from the end, the rest is clamped."""
    wrapped = np.where(index < 0, index + size, index)
    return np.clip(wrapped, 0, size - 1)


@UNCHECKED
def test_gathers_take_the_nearest_element(tmp_path: Path) -> None:
    want = DATA[on_axis(HOSTILE, 4)]
    np.testing.assert_array_equal(run_node("Gather", [DATA, HOSTILE], {}, want.shape, tmp_path), want)
    np.testing.assert_array_equal(run_node("GatherND", [DATA, HOSTILE[:, None]], {}, want.shape, tmp_path), want)
    columns = np.repeat(HOSTILE[:, None], 3, 1)
    have = run_node("GatherElements", [DATA, columns], {"axis": 0}, want.shape, tmp_path)
    np.testing.assert_array_equal(have, want)


@UNCHECKED
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_scatters_leave_out_what_lies_outside(reduction: str, dtype: type, tmp_path: Path) -> None:
    lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
    indices = np.array([lowest, -5, -1, 0, 4, highest], dtype)
    updates = np.arange(20, 38, dtype=np.float32).reshape(6, 3)
    combine = {"none": lambda a, b: b, "add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
    want = DATA.copy()
    for place, row in ((3, 2), (0, 3)):
        want[place] = combine[reduction](want[place], updates[row])
    places = np.repeat(indices[:, None], 3, 1)
    have = run_node("ScatterElements", [DATA, places, updates], {"reduction": reduction}, (4, 3), tmp_path)
    np.testing.assert_array_equal(have, want)
    with pytest.raises(UnsupportedOperatorError, match="of input 1 lies outside of an axis of 4 elements"):
        run_node("ScatterElements", [DATA, Const(places), updates], {"reduction": reduction}, (4, 3), tmp_path)
    if dtype == np.int64:
        have = run_node("ScatterND", [DATA, indices[:, None], updates], {"reduction": reduction}, (4, 3), tmp_path)
        np.testing.assert_array_equal(have, want)


@UNCHECKED
def test_a_vector_of_indices_is_left_out_whole(tmp_path: Path) -> None:
    indices = np.array([[1, LOWEST], [HIGHEST, 1], [1, 3], [-4, -3], [2, -4]], np.int64)
    updates = np.arange(20, 25, dtype=np.float32)
    want = DATA.copy()
    want[0, 0] = 23
    np.testing.assert_array_equal(run_node("ScatterND", [DATA, indices, updates], {}, (4, 3), tmp_path), want)


def test_scatter_of_fewer_elements_than_the_data_has(tmp_path: Path) -> None:
    """The index tensor may be smaller on every axis, not only on the one that is scattered along."""
    data = np.zeros((3, 4, 5), np.float32)
    indices = np.array([[[2, 0, -1]], [[1, 3, 2]]], np.int64)
    updates = np.arange(1, 7, dtype=np.float32).reshape(2, 1, 3)
    want = data.copy()
    np.put_along_axis(want[:2, :, :3], indices, updates, 1)
    np.testing.assert_array_equal(
        run_node("ScatterElements", [data, indices, updates], {"axis": 1}, (3, 4, 5), tmp_path), want
    )


@UNCHECKED
def test_max_unpool_leaves_out_what_lies_outside(tmp_path: Path) -> None:
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    indices = np.array([5, HIGHEST, 16, 8], np.int64).reshape(1, 1, 2, 2)
    want = np.zeros(16, np.float32)
    want[[5, 8]] = 1, 4
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    have = run_node("MaxUnpool", [x, indices], attributes, (1, 1, 4, 4), tmp_path, opset=11)
    np.testing.assert_array_equal(have.reshape(-1), want)


def test_one_hot_of_indices_outside_is_off(tmp_path: Path) -> None:
    values = np.array([2, 7], np.float32)
    node = helper.make_node("OneHot", ["x", "depth", "values"], ["y"], "n")
    inputs = {"x": (TensorProto.INT64, HOSTILE.shape), "values": (TensorProto.FLOAT, (2,))}
    path = save(tmp_path / "m.onnx", [node], inputs, ["y"], {"depth": np.array(4)})
    (have,) = run_program(import_file(path), {"x": HOSTILE, "values": values})
    hits = np.where(HOSTILE < 0, HOSTILE + 4, HOSTILE)[:, None] == np.arange(4)
    np.testing.assert_array_equal(have, np.where(hits, 7, 2))


def test_lengths_are_cut_to_the_sequence(tmp_path: Path) -> None:
    data = np.arange(20, dtype=np.float32).reshape(4, 5)
    lengths = np.array([LOWEST, -1, 2, 5, HIGHEST], np.int64)
    want = data.copy()
    for column, count in enumerate((0, 0, 2, 4, 4)):
        want[:count, column] = data[:count, column][::-1]
    np.testing.assert_array_equal(run_node("ReverseSequence", [data, lengths], {}, (4, 5), tmp_path), want)


@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_recurrent_lengths_are_cut_to_the_sequence(op: str, gates: int, direction: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    time, batch, features, hidden, directions = 3, 4, 2, 2, 1 + (direction == "bidirectional")
    x = random.standard_normal((time, batch, features)).astype(np.float32)
    w = Const(random.standard_normal((directions, gates * hidden, features)).astype(np.float32))
    r = Const(random.standard_normal((directions, gates * hidden, hidden)).astype(np.float32))
    shape = (time, directions, batch, hidden)
    attributes = {"hidden_size": hidden, "direction": direction}

    def states(lengths: list[int]) -> np.ndarray:
        return run_node(op, [x, w, r, None, np.array(lengths, np.int32)], attributes, shape, tmp_path)

    np.testing.assert_array_equal(states([-(1 << 31), 2, 1000, (1 << 31) - 1]), states([0, 2, 3, 3]))


@UNCHECKED
@pytest.mark.parametrize("start", [LOWEST, -1, 0, 3, HIGHEST])
@pytest.mark.parametrize("step", [LOWEST, -2, 2, 7, HIGHEST])
def test_run_time_slices_stay_inside(start: int, step: int, tmp_path: Path) -> None:
    inputs = [DATA, *(np.array([number], np.int64) for number in (start, HIGHEST, 0, step))]
    first = np.clip(start + 4 if start < 0 else start, 0, 3 if step < 0 else 4)
    rows = np.clip(int(first) + np.arange(3, dtype=object) * step, 0, 3).astype(int)
    np.testing.assert_array_equal(run_node("Slice", inputs, {}, (3, 3), tmp_path), DATA[rows])


@UNCHECKED
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("amount", [LOWEST, HIGHEST])
def test_run_time_pads_stay_inside(mode: str, amount: int, tmp_path: Path) -> None:
    have = run_node("Pad", [DATA, np.array([amount, 0, 0, 0], np.int64)], {"mode": mode}, (6, 3), tmp_path, opset=19)
    assert np.isin(have, [0, *DATA.reshape(-1)]).all()


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter_stays_inside(mode: str, tmp_path: Path) -> None:
    cache = np.zeros((3, 4, 2), np.float32)
    update = np.ones((3, 2, 2), np.float32)
    starts = np.array([LOWEST, HIGHEST, 1], np.int64)
    have = run_node("TensorScatter", [cache, update, starts], {"mode": mode}, (3, 4, 2), tmp_path, opset=24)
    want = cache.copy()
    want[2, 1:3] = 1
    if mode == "circular":
        want[0, :2] = 1
        want[1, [3, 0]] = 1
    np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("op", ["RoiAlign", "MaxRoiPool"])
def test_regions_of_batches_that_do_not_exist(op: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 1, 6, 6)).astype(np.float32)
    box = np.array([0, 0, 5, 5], np.float32)
    if op == "RoiAlign":
        batches = np.array([HIGHEST, LOWEST, 0, 1], np.int64)
        inputs, attributes = [x, np.tile(box, (4, 1)), batches], {"output_height": 2, "output_width": 2}
    else:
        batches = np.array([1e30, np.nan, 0, 1], np.float32)
        inputs, attributes = [x, np.column_stack([batches, np.tile(box, (4, 1))])], {"pooled_shape": [2, 2]}
    have = run_node(op, inputs, attributes, (4, 1, 2, 2), tmp_path, opset=16)
    np.testing.assert_array_equal(have[:2], have[[2, 2]])
    assert not np.array_equal(have[2], have[3])


INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("known", [False, True])
def test_integer_division_is_total(dtype: type, known: bool, tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    numbers = [limits.min, limits.min + 1, 0, 1, 7, limits.max] + ([-1, -7] if limits.min else [])
    a, b = (v.reshape(-1) for v in np.meshgrid(np.array(numbers, dtype), np.array([*numbers, 2, 3], dtype)))
    divisor = Const(b) if known else b

    def exact(function: Any) -> np.ndarray:
        values = [function(int(x), int(y)) if y else 0 for x, y in zip(a, b, strict=True)]
        modulus = 1 << (8 * a.itemsize)
        return np.array([value % modulus for value in values], f"u{a.itemsize}").view(dtype)

    def towards_zero(x: int, y: int) -> int:
        return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)

    have = run_node("Div", [a, divisor], {}, a.shape, tmp_path)
    np.testing.assert_array_equal(have, exact(towards_zero))
    have = run_node("Mod", [a, divisor], {}, a.shape, tmp_path)
    np.testing.assert_array_equal(have, exact(lambda x, y: x % y))
    have = run_node("Mod", [a, divisor], {"fmod": 1}, a.shape, tmp_path)
    np.testing.assert_array_equal(have, exact(lambda x, y: x - y * towards_zero(x, y)))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_division_under_the_models_own_guard(dtype: type, tmp_path: Path) -> None:
    """TVM knows inside of the guard that the divisor is not 0, and computes both sides all the same."""
    a, b = np.arange(64, dtype=dtype), np.arange(64, dtype=dtype) % 4
    nodes = [
        helper.make_node("Equal", ["b", "zero"], ["guard"], "equal"),
        helper.make_node("Div", ["a", "b"], ["q"], "div"),
        helper.make_node("Where", ["guard", "a", "q"], ["y"], "where"),
    ]
    inputs = {"a": (dtype_code(a), a.shape), "b": (dtype_code(b), b.shape)}
    path = save(tmp_path / "m.onnx", nodes, inputs, ["y"], {"zero": np.zeros((), dtype)})
    (have,) = run_program(import_file(path), {"a": a, "b": b})
    np.testing.assert_array_equal(have, np.where(b == 0, a, a // np.maximum(b, 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("op", ["GlobalMaxPool", "ReduceMax"])
def test_maximum_of_nothing_but_infinities(dtype: type, op: str, tmp_path: Path) -> None:
    x = np.array([[-np.inf] * 4, [-np.inf, -3, -np.inf, -5]], dtype).reshape(1, 2, 2, 2)
    attributes = {"axes": [2, 3]} if op == "ReduceMax" else {}
    have = run_node(op, [x], attributes, (1, 2, 1, 1), tmp_path, opset=13)
    np.testing.assert_array_equal(have.reshape(-1).astype(np.float32), np.array([-np.inf, -3], np.float32))
