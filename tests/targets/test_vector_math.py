from __future__ import annotations

import math
import re

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.cpu.vector_math import exp_of_nonpositive
from lepton_compiler.targets.registry import TARGETS, get_target, native_target, runs_here

REFERENCES = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}
LEVELS = [name for name in TARGETS if name.startswith("x86-64-v") and runs_here(TARGETS[name])]
LARGEST_RELATIVE_ERROR = {"exp": 8.6e-8, "tanh": 3.0e-7, "sigmoid": 1.5e-7, "erf": 3.8e-7}
"""In float32's normal range, as ``docs/scheduling.md`` states it; measured over all numbers from 2^-14 to 128."""
WITHOUT_FUSED_MULTIPLY_ADD = {"tanh": 4.2e-7, "erf": 4.5e-7}
"""The same on x86-64-v2, where each product is rounded by itself."""
SUBNORMAL_STEP = 2.0**-149
SMALLEST_NORMAL = np.finfo(np.float32).tiny


def _build(name: str, size: int, dtype: str = "float32", level: str | None = None):
    data = te.placeholder((size,), dtype, name="data")
    result = te.compute((size,), lambda i: getattr(tirx, name)(data[i]), name="result")
    spec = native_target() if level is None else get_target(level)
    function = schedule_function(te.create_prim_func([data, result]), spec).func.with_attr("global_symbol", "main")
    return tvm.tirx.build(tvm.IRModule({"main": function}), tvm.target.Target(spec.llvm_target()))


def _points() -> np.ndarray:
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 88.72, 88.73, -87.4, -103.9, -104.5, 3.925, 0.921875]
    special += [3e38, -3e38, 1.2e-38, -1.2e-38, 1e-42]
    parts = [np.linspace(-10, 10, 200_001), np.linspace(-120, 100, 100_001), np.geomspace(1e-8, 10, 100_001), special]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", REFERENCES)
def test_accuracy_and_special_values(name, level):
    points = _points()
    library = _build(name, points.size, level=level)
    output = tvm.runtime.empty(points.shape, "float32")
    library["main"](tvm.runtime.tensor(points), output)
    actual = output.numpy()
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        exact = REFERENCES[name](points.astype(np.float64))
        expected = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(actual), np.isinf(expected))
    normal = np.isfinite(expected) & (np.abs(expected) >= SMALLEST_NORMAL)
    relative = np.abs(actual[normal] - exact[normal]) / np.abs(exact[normal])
    without = WITHOUT_FUSED_MULTIPLY_ADD if level == "x86-64-v2" else {}
    assert relative.max() <= without.get(name, LARGEST_RELATIVE_ERROR[name])
    tiny = np.isfinite(expected) & ~normal
    # The reciprocal in sigmoid becomes 0 where exp(-x) leaves the finite numbers; the others go down step by step.
    allowed = SMALLEST_NORMAL if name == "sigmoid" else 2 * SUBNORMAL_STEP
    assert np.abs(actual[tiny] - exact[tiny]).max(initial=0.0) <= allowed


@pytest.mark.parametrize("name", REFERENCES)
def test_calls_no_library_function(name):
    assembly = _build(name, 1024).inspect_source("asm")
    assert not re.search(r"\b(expf|tanhf|erff)\b", assembly)


def test_exp_of_nonpositive():
    points = np.concatenate([-np.geomspace(1e-8, 86.9, 2001), [0.0, -0.0]]).astype(np.float32)
    limits = np.array([-87.5, -103.0, -1e30, -np.inf, np.nan], np.float32)
    data = te.placeholder((points.size + limits.size,), "float32", name="data")
    result = te.compute(data.shape, lambda i: exp_of_nonpositive(data(i)), name="result")
    spec = native_target()
    function = schedule_function(te.create_prim_func([data, result]), spec).func.with_attr("global_symbol", "main")
    library = tvm.tirx.build(tvm.IRModule({"main": function}), tvm.target.Target(spec.llvm_target()))
    output = tvm.runtime.empty((points.size + limits.size,), "float32")
    library["main"](tvm.runtime.tensor(np.concatenate([points, limits])), output)
    actual, exact = output.numpy()[: points.size], np.exp(points.astype(np.float64))
    assert (np.abs(actual - exact) / exact).max() <= LARGEST_RELATIVE_ERROR["exp"]
    np.testing.assert_array_equal(output.numpy()[points.size :], [0, 0, 0, 0, np.nan])


SATURATED_FROM = {"erf": 4.0, "tanh": 9.0}
"""Where the result rounds to 1."""


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", SATURATED_FROM)
def test_saturates_at_one_exactly(name, level):
    points = np.concatenate([np.linspace(3, 10, 100_001), np.geomspace(10, 3e38, 1001), [np.inf]]).astype(np.float32)
    library = _build(name, points.size, level=level)
    output = tvm.runtime.empty(points.shape, "float32")
    library["main"](tvm.runtime.tensor(points), output)
    assert output.numpy().max() == 1
    assert (output.numpy()[points > SATURATED_FROM[name]] == 1).all()
    library["main"](tvm.runtime.tensor(-points), output)
    assert output.numpy().min() == -1
    assert (output.numpy()[points > SATURATED_FROM[name]] == -1).all()


LIBRARY_TOLERANCE = {"float16": 1e-3, "float32": 3e-7, "float64": 1e-15}
"""Relative; one or two units in the last place."""


@pytest.mark.parametrize("dtype", LIBRARY_TOLERANCE)
@pytest.mark.parametrize("name", ["sinh", "cosh"])
def test_hyperbolic_functions(name, dtype):
    largest = 11.0 if dtype == "float16" else 88.0
    tiny = 1e-3 if dtype == "float16" else 1e-20
    points = np.concatenate([np.linspace(-largest, largest, 501), [0.0, tiny, -tiny, np.inf, -np.inf, np.nan]])
    points = points.astype(dtype)
    library = _build(name, points.size, dtype)
    output = tvm.runtime.empty(points.shape, dtype)
    library["main"](tvm.runtime.tensor(points), output)
    expected = getattr(np, name)(points.astype("float64"))
    np.testing.assert_allclose(output.numpy().astype("float64"), expected, rtol=LIBRARY_TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", LIBRARY_TOLERANCE)
def test_remainder_is_exact_also_for_large_quotients(dtype):
    left = np.array([7.5, -7.5, 1e4, -0.0, np.inf, np.nan, 3.0, 6e4, 1.0] * 9, dtype)
    right = np.array([2.0, 2.0, 0.3, 1.0, 2.0, 1.0, 0.0, 0.01, np.inf] * 9, dtype)
    if dtype != "float16":
        left[7], right[7] = 1e30, 3e-5
    a, b = (te.placeholder((left.size,), dtype, name=name) for name in "ab")
    result = te.compute((left.size,), lambda i: tirx.fmod(a(i), b(i)), name="result")
    spec = native_target()
    function = schedule_function(te.create_prim_func([a, b, result]), spec).func.with_attr("global_symbol", "main")
    library = tvm.tirx.build(tvm.IRModule({"main": function}), tvm.target.Target(spec.llvm_target()))
    output = tvm.runtime.empty(left.shape, dtype)
    library["main"](tvm.runtime.tensor(left), tvm.runtime.tensor(right), output)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(output.numpy(), np.fmod(left, right))
