"""relu, clip, maximum and minimum keep NaN, through compiled kernels, and stay one instruction where they can."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from tvm import relax, tirx

from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.registry import get_target, native_target

NAN, INF = np.nan, np.inf
LEFT = np.array([1.0, NAN, 2.0, -1.0, 0.0, NAN, INF, -INF, 7.0] * 37)
RIGHT = np.array([NAN, 1.0, -3.0, 4.0, 0.0, NAN, NAN, 4.0, INF] * 37)
LIMITS = np.array([0.5, -2.0, 3.0])


def _lowered(build, *shapes, dtype="float32") -> tvm.IRModule:
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            output = builder.emit_output(build(builder.emit, *inputs))
        builder.emit_func_output(output)
    module = LegalizeOperators().run(builder.get(), native_target()).module
    return relax.transform.FuseTIR()(relax.transform.FuseOps()(module))


def _run(build, *arrays: np.ndarray) -> np.ndarray:
    spec = native_target()
    module = _lowered(build, *[array.shape for array in arrays], dtype=str(arrays[0].dtype))
    for var, function in list(module.functions.items()):
        if isinstance(function, tirx.PrimFunc):
            module.update_func(var, schedule_function(function, spec).func)
    target = tvm.target.Target(spec.llvm_target())
    with target:
        machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    return machine["main"](*[tvm.runtime.tensor(array) for array in arrays]).numpy()


UNARY = {
    "relu": (lambda emit, x: relax.op.nn.relu(x), lambda x: np.maximum(x, 0)),
    "leakyrelu": (lambda emit, x: relax.op.nn.leakyrelu(x, 0.25), lambda x: np.where(x > 0, x, x * 0.25)),
    "clip": (lambda emit, x: relax.op.clip(x, -0.5, 6.0), lambda x: np.clip(x, -0.5, 6.0)),
    "at_least": (lambda emit, x: relax.op.maximum(_const(0.5, x), x), lambda x: np.maximum(x, 0.5)),
    "at_most": (lambda emit, x: relax.op.minimum(x, _const(0.5, x)), lambda x: np.minimum(x, 0.5)),
    "nan_limit": (lambda emit, x: relax.op.minimum(x, _const(NAN, x)), lambda x: np.minimum(x, NAN)),
    "row_of_limits": (
        lambda emit, x: relax.op.maximum(relax.op.reshape(x, (111, 3)), _const(LIMITS, x)),
        lambda x: np.maximum(x.reshape(111, 3), LIMITS.astype(x.dtype)),
    ),
    "chain": (
        lambda emit, x: emit(relax.op.nn.relu(emit(relax.op.clip(emit(relax.op.negative(x)), -1.0, 1.0)))),
        lambda x: np.maximum(np.clip(-x, -1, 1), 0),
    ),
}


def _const(value: object, x: relax.Expr) -> relax.Expr:
    return relax.const(np.array(value), str(x.ty.dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name: str, dtype: str) -> None:
    build, reference = UNARY[name]
    x = LEFT.astype(dtype)
    np.testing.assert_array_equal(_run(build, x), reference(x))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_two_operands(name: str, dtype: str) -> None:
    left, right = LEFT.astype(dtype), RIGHT.astype(dtype)
    actual = _run(lambda emit, a, b: getattr(relax.op, name)(a, b), left, right)
    np.testing.assert_array_equal(actual, getattr(np, name)(left, right))


def test_operands_that_broadcast() -> None:
    left, right = LEFT.astype("float32").reshape(37, 1, 9), RIGHT[:7].astype("float32").reshape(7, 1)
    actual = _run(lambda emit, a, b: relax.op.maximum(a, b), left, right)
    np.testing.assert_array_equal(actual, np.maximum(left, right))


def test_integers() -> None:
    left, right = np.arange(-9, 9, dtype="int32"), np.arange(9, -9, -1, dtype="int32")
    actual = _run(lambda emit, a, b: emit(relax.op.nn.relu(emit(relax.op.minimum(a, b)))), left, right)
    np.testing.assert_array_equal(actual, np.maximum(np.minimum(left, right), 0))


def test_nan_behind_a_convolution() -> None:
    weight = np.random.default_rng(0).standard_normal((16, 4, 3, 3)).astype("float32")

    def build(emit, x):
        conv = emit(relax.op.nn.conv2d(x, relax.const(weight)))
        return emit(relax.op.clip(emit(relax.op.nn.relu(conv)), 0.0, 6.0))

    x = np.random.default_rng(1).standard_normal((1, 4, 9, 9)).astype("float32")
    clean = _run(build, x)
    x[0, 2, 4, 4] = NAN
    result = _run(build, x)
    touched = np.zeros((7, 7), bool)
    touched[2:5, 2:5] = True
    assert np.isnan(result[:, :, touched]).all()
    np.testing.assert_array_equal(result[:, :, ~touched], clean[:, :, ~touched])
    assert clean.min() == 0.0


@pytest.mark.parametrize(
    ("build", "instructions"),
    [(UNARY["relu"][0], {"vmaxps"}), (UNARY["clip"][0], {"vmaxps", "vminps"}), (UNARY["at_most"][0], {"vminps"})],
    ids=["relu", "clip", "at_most"],
)
def test_one_instruction_a_limit(build, instructions: set[str]) -> None:
    spec = get_target("x86-64-v3")
    (function,) = [f for f in _lowered(build, (1024,)).functions.values() if isinstance(f, tirx.PrimFunc)]
    scheduled = schedule_function(function, spec).func.with_attr("global_symbol", "kernel")
    library = tvm.tirx.build(tvm.IRModule({"kernel": scheduled}), tvm.target.Target(spec.llvm_target()))
    assembly = library.inspect_source("asm")
    assert set(re.findall(r"\bv(?:max|min|cmp\w*|blendv|and)ps\b", assembly)) == instructions
