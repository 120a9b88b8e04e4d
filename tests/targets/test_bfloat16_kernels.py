"""Products of bfloat16 and conversions, against NumPy on operands that ``ml_dtypes`` rounds."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from kernel_checks import assert_close, compile_operator, operator_module, random, schedule_all
from reference_convolution import convolve, convolve_transposed
from tvm import relax

from lepton_compiler.passes.fusion.fuse_operators import FuseOperators
from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.passes.precision.convert_precision import ConvertPrecision, Precision
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.targets.registry import TARGETS, get_target, runs_here

BF16 = [ConvertPrecision(Precision.BF16, winograd=WinogradPolicy(False)), PackActivations(WinogradPolicy(False))]
TARGETS_WITH_DOT = [spec.name for spec in TARGETS.values() if spec.has_bfloat16_dot]

needs_bfloat16 = pytest.mark.skipif(
    not any(runs_here(TARGETS[name]) for name in TARGETS_WITH_DOT), reason="the processor has no bfloat16 products"
)


def _rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)


def _target() -> str:
    return next(name for name in TARGETS_WITH_DOT if runs_here(TARGETS[name]))


CONVOLUTIONS = [
    # data, weight, stride, padding, dilation, groups: odd planes, partial vectors, partial tiles.
    ((1, 16, 7, 7), (32, 16, 3, 3), 1, 1, 1, 1),
    ((2, 8, 14, 9), (20, 8, 3, 3), 2, 1, 1, 1),
    ((1, 10, 10, 75), (13, 10, 3, 3), 1, 1, 1, 1),
    ((1, 12, 9, 1), (24, 12, 1, 1), 1, 0, 1, 1),
    ((1, 24, 12, 12), (80, 24, 3, 3), 1, 2, 2, 1),
    ((1, 64, 7, 7), (96, 64, 1, 1), 1, 0, 1, 1),
    ((3, 20, 9, 8), (33, 20, 1, 1), 2, 0, 1, 1),
    ((1, 64, 6, 6), (64, 32, 3, 3), 1, 1, 1, 2),
    # Few plain channels: pairs along rows, of odd and even kernels.
    ((1, 3, 23, 23), (16, 3, 7, 7), 2, 3, 1, 1),
    ((2, 3, 9, 12), (20, 3, 3, 3), 1, 0, 1, 1),
    ((1, 1, 8, 9), (5, 1, 4, 4), 3, 1, 1, 1),
    ((1, 4, 6, 7), (16, 4, 1, 2), 1, 0, 1, 1),
]


@needs_bfloat16
@pytest.mark.parametrize(("data", "weight", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution(data, weight, stride, padding, dilation, groups):
    taps, x = random(*weight, seed=1), random(*data)

    def build(emit, value):
        attributes = {"strides": [stride] * 2, "padding": [padding] * 4, "dilation": [dilation] * 2}
        return emit(relax.op.nn.conv2d(value, relax.const(taps), groups=groups, **attributes))

    compiled = compile_operator(build, data, arrange=BF16, target=_target())
    assert "lepton_dot" not in compiled.text and "dpbf16ps" in compiled.text
    expected = convolve(
        _rounded(x), _rounded(taps), strides=[stride] * 2, padding=[padding] * 4, dilation=[dilation] * 2, groups=groups
    )
    assert_close(compiled(x), expected)


@needs_bfloat16
@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [((1,), 64, 10), ((5, 7), 34, 48), ((197,), 128, 33), ((3, 1), 2, 1)]
)
def test_dense(rows, inner, columns):
    weight, x = random(inner, columns, seed=1), random(*rows, inner)
    compiled = compile_operator(
        lambda emit, value: emit(relax.op.matmul(value, relax.const(weight))), x.shape, arrange=BF16, target=_target()
    )
    assert "dpbf16ps" in compiled.text
    assert_close(compiled(x), _rounded(x) @ _rounded(weight))


@needs_bfloat16
def test_symbolic_rows():
    weight, x = random(24, 40, seed=1), random(13, 24)
    compiled = compile_operator(
        lambda emit, value: emit(relax.op.matmul(value, relax.const(weight))), ("n", 24), arrange=BF16, target=_target()
    )
    assert "dpbf16ps" in compiled.text
    assert_close(compiled(x), _rounded(x) @ _rounded(weight))


@needs_bfloat16
def test_interleaved_transposed_convolution():
    weight, x = random(32, 16, 2, 2, seed=1), random(1, 32, 5, 6)

    def build(emit, value):
        return emit(relax.op.nn.conv2d_transpose(value, relax.const(weight), strides=[2, 2]))

    compiled = compile_operator(build, x.shape, arrange=BF16, target=_target())
    assert "dpbf16ps" in compiled.text
    expected = convolve_transposed(_rounded(x), _rounded(weight), strides=[2, 2], padding=[0] * 4)
    assert_close(compiled(x), expected)


def _chain(emit, value):
    """Two products, a depthwise convolution between them, and a residual sum that reads a stored tensor."""
    first, taps, last = (relax.const(weight) for weight in _chain_weights())
    first = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(value, first))))
    middle = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(first, taps, padding=[1] * 4, groups=24))))
    return emit(relax.op.add(emit(relax.op.nn.conv2d(middle, last)), first))


def _chain_weights() -> list[np.ndarray]:
    return [random(24, 10, 1, 1, seed=1), random(24, 1, 3, 3, seed=2), random(24, 24, 1, 1, seed=3)]


@needs_bfloat16
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.MIXED])
def test_stored_tensors_are_rounded_once(precision):
    x = random(1, 10, 9, 8)
    arrange = [ConvertPrecision(precision), PackActivations()]
    compiled = compile_operator(_chain, x.shape, arrange=arrange, target=_target())
    first_weight, taps, last_weight = _chain_weights()
    kept = _rounded if precision is Precision.BF16 else np.asarray
    first = kept(np.maximum(convolve(_rounded(x), _rounded(first_weight)), 0).astype(np.float32))
    middle = np.maximum(convolve(first, taps, padding=[1] * 4, groups=24), 0).astype(np.float32)
    expected = convolve(_rounded(middle), _rounded(last_weight)) + first
    # A sum near the middle of two bfloat16 numbers may be rounded the other way: one step of one operand of many.
    assert_close(compiled(x), expected, tolerance=2e-4)


@needs_bfloat16
def test_without_packed_activations_the_arithmetic_is_the_same():
    x, weight = random(1, 16, 6, 5), random(24, 16, 3, 3, seed=1)

    def build(emit, value):
        return emit(relax.op.nn.conv2d(value, relax.const(weight), padding=[1] * 4))

    compiled = compile_operator(build, x.shape, arrange=BF16[:1], target=_target())
    assert_close(compiled(x), convolve(_rounded(x), _rounded(weight), padding=[1] * 4))


@needs_bfloat16
@pytest.mark.parametrize("count", [1, 3, 16, 37])
def test_rounding(count):
    """Through a transpose, which moves stored numbers: ties, infinities, NaN, the largest number, either sign."""
    weight = np.eye(2, dtype=np.float32)
    special = [1.00390625, 1.01171875, np.inf, -np.inf, 3.4e38, -1e-30, 0.0, -0.0, 1.0, 2.0**-126]
    values = np.array((special * 8)[: 2 * count], np.float32).reshape(2, count)

    def build(emit, value):
        turned = emit(relax.op.permute_dims(value, [1, 0]))
        return emit(relax.op.matmul(turned, relax.const(weight)))

    compiled = compile_operator(build, values.shape, arrange=BF16, target=_target())
    with np.errstate(invalid="ignore"):
        expected = _rounded(values).T @ weight
    np.testing.assert_array_equal(compiled(values), expected)


@pytest.mark.parametrize("target", TARGETS_WITH_DOT)
def test_every_target_with_the_instruction_gets_it(target):
    spec = get_target(target)
    module = operator_module(_chain, [(1, 10, 9, 8)])
    for pass_ in (*BF16, LegalizeOperators(), FuseOperators()):
        module = pass_.run(module, spec).module
    kernels = schedule_all(module, spec)[1]
    assert sum("dpbf16ps" in kernel.func.script() for kernel in kernels) == 2
    assert [kernel.refused for kernel in kernels if kernel.refused] == []
