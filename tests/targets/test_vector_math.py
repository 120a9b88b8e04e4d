from __future__ import annotations

import math
import re

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.registry import native_target

REFERENCES = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}
LARGEST_RELATIVE_ERROR = 5e-7
SUBNORMAL_STEP = 2.0**-149
SMALLEST_NORMAL = np.finfo(np.float32).tiny


def _build(name: str, size: int):
    data = te.placeholder((size,), "float32", name="data")
    result = te.compute((size,), lambda i: getattr(tirx, name)(data[i]), name="result")
    spec = native_target()
    function = schedule_function(te.create_prim_func([data, result]), spec).func.with_attr("global_symbol", "main")
    return tvm.tirx.build(tvm.IRModule({"main": function}), tvm.target.Target(spec.llvm_target()))


def _points() -> np.ndarray:
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 88.72, 88.73, -87.4, -103.9, -104.5, 3.925, 0.921875]
    parts = [np.linspace(-10, 10, 4001), np.linspace(-120, 100, 4001), np.geomspace(1e-8, 10, 1001), special]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("name", REFERENCES)
def test_accuracy_and_special_values(name):
    points = _points()
    library = _build(name, points.size)
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
    assert relative.max() <= LARGEST_RELATIVE_ERROR
    tiny = np.isfinite(expected) & ~normal
    # The reciprocal in sigmoid becomes 0 where exp(-x) leaves the finite numbers; the others go down step by step.
    allowed = SMALLEST_NORMAL if name == "sigmoid" else 2 * SUBNORMAL_STEP
    assert np.abs(actual[tiny] - exact[tiny]).max(initial=0.0) <= allowed


@pytest.mark.parametrize("name", REFERENCES)
def test_calls_no_library_function(name):
    assembly = _build(name, 1024).inspect_source("asm")
    assert not re.search(r"\b(expf|tanhf|erff)\b", assembly)
