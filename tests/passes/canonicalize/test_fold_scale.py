"""FoldScale: factors behind and before convolutions and matmuls."""

from __future__ import annotations

import numpy as np
import pytest
from pass_checks import FLOAT32_TOLERANCE, check_numbers, check_rewrite, check_unchanged, node_names, reasons, run_pass
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.passes.canonicalize.fold_scale import FoldScale

_RANDOM = np.random.default_rng(3)


def _array(*shape: int) -> np.ndarray:
    return _RANDOM.uniform(0.5, 1.5, size=shape).astype("float32")


def _rounded(exact: np.ndarray) -> relax.Expr:
    return relax.const(exact.astype("float32"))


WEIGHTS, BIAS, FACTOR, DIVISOR = _array(4, 3, 1, 1), _array(1, 4, 1, 1), _array(4, 1, 1), _array(3, 1, 1)
W, B, F, D = (relax.const(array) for array in (WEIGHTS, BIAS, FACTOR, DIVISOR))
W_BEHIND = _rounded(WEIGHTS.astype("float64") * FACTOR.reshape(4, 1, 1, 1))
B_BEHIND = _rounded(BIAS.astype("float64") * FACTOR.reshape(1, 4, 1, 1))
W_BEFORE = _rounded(WEIGHTS.astype("float64") * (1.0 / DIVISOR.astype("float64")).reshape(1, 3, 1, 1))


@I.ir_module
class BeforeBehind:
    @R.function
    def main(x: R.Tensor((1, 3, 5, 5), "float32")):
        with R.dataflow():
            conv = R.nn.conv2d(x, W)
            biased = R.add(conv, B)
            scaled = R.multiply(biased, F)
            R.output(scaled)
        return scaled


@I.ir_module
class ExpectedBehind:
    @R.function
    def main(x: R.Tensor((1, 3, 5, 5), "float32")):
        with R.dataflow():
            conv = R.nn.conv2d(x, W_BEHIND)
            biased = R.add(conv, B_BEHIND)
            R.output(biased)
        return biased


@I.ir_module
class BeforeBefore:
    @R.function
    def main(x: R.Tensor((1, 3, 5, 5), "float32")):
        with R.dataflow():
            scaled = R.divide(x, D)
            conv = R.nn.conv2d(scaled, W, padding=[1, 1, 1, 1])
            R.output(conv)
        return conv


@I.ir_module
class ExpectedBefore:
    @R.function
    def main(x: R.Tensor((1, 3, 5, 5), "float32")):
        with R.dataflow():
            conv = R.nn.conv2d(x, W_BEFORE, padding=[1, 1, 1, 1])
            R.output(conv)
        return conv


def test_a_factor_behind_a_bias() -> None:
    result = check_rewrite(FoldScale(), BeforeBehind, ExpectedBehind)
    assert node_names(result.module) == ["conv", "biased+scaled"]
    assert [(r.node, r.what) for r in result.rewrites] == [("biased+scaled", "factor folded into the weights of conv")]


def test_a_divisor_before_a_padded_convolution() -> None:
    result = check_rewrite(FoldScale(), BeforeBefore, ExpectedBefore)
    assert node_names(result.module) == ["scaled+conv"]


INPUT_SCALES = {
    "grouped": ((1, 4, 5, 5), (4, 1, 1), lambda x: relax.op.nn.conv2d(x, relax.const(_array(6, 2, 3, 3)), groups=2)),
    "transposed_grouped": (
        (1, 4, 5, 5),
        (4, 1, 1),
        lambda x: relax.op.nn.conv2d_transpose(x, relax.const(_array(4, 3, 2, 2)), groups=2),
    ),
    "matmul": ((2, 5, 4), (4,), lambda x: relax.op.matmul(x, relax.const(_array(4, 6)))),
    "scalar": ((2, 5, 4), (), lambda x: relax.op.matmul(x, relax.const(_array(2, 4, 6)))),
}


@pytest.mark.parametrize("name", INPUT_SCALES)
def test_a_factor_before_every_linear_operator(name: str) -> None:
    shape, factor_shape, linear = INPUT_SCALES[name]
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            scaled = builder.emit(relax.op.multiply(relax.const(_array(*factor_shape)), x), "scaled")
            result = builder.emit(linear(scaled), "linear")
            output = builder.emit_output(result)
        builder.emit_func_output(output)
    before = builder.get()
    after = run_pass(FoldScale(), before).module
    assert "relax.multiply" not in [operator_name(binding.value) for binding in bindings(after)]
    check_numbers(before, after, tolerance=FLOAT32_TOLERANCE)


def test_refuses_factors_that_vary_inside_of_a_channel() -> None:
    pixels = relax.const(_array(5, 5))

    @I.ir_module
    class PerPixel:
        @R.function
        def main(x: R.Tensor((1, 3, 5, 5), "float32")):
            with R.dataflow():
                before = R.multiply(x, pixels)
                conv = R.nn.conv2d(before, W)
                behind = R.multiply(conv, pixels)
                R.output(behind)
            return behind

    assert reasons(check_unchanged(FoldScale(), PerPixel)) == {
        "conv": "the factor before is not one value an input channel",
        "behind": "its factor is not one value an output channel of conv",
    }


def test_refuses_what_is_read_elsewhere() -> None:
    @I.ir_module
    class Shared:
        @R.function
        def main(x: R.Tensor((1, 3, 5, 5), "float32")):
            with R.dataflow():
                before = R.multiply(x, R.const(2.0))
                conv = R.nn.conv2d(before, W)
                behind = R.multiply(conv, R.const(2.0))
                R.output(before, conv, behind)
            return (before, conv, behind)

    assert reasons(check_unchanged(FoldScale(), Shared)) == {
        "conv": "the product before in front of it is read by 2 nodes",
        "behind": "the output of conv is read by 2 nodes",
    }


def test_says_nothing_about_factors_far_from_weights() -> None:
    @I.ir_module
    class Far:
        @R.function
        def main(x: R.Tensor((1, 3), "float32")):
            with R.dataflow():
                y = R.multiply(x, R.const(2.0))
                R.output(y)
            return y

    assert check_unchanged(FoldScale(), Far).declines == ()


GROWING = {
    "convolution": ((1, 1, 5, 5), (3, 1, 1), lambda x: relax.op.nn.conv2d(x, W)),
    "matmul": ((2, 1), (4,), lambda x: relax.op.matmul(x, relax.const(_array(4, 6)))),
}


@pytest.mark.parametrize("name", GROWING)
def test_refuses_factors_that_grow_the_input(name: str) -> None:
    shape, factor_shape, linear = GROWING[name]
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            scaled = builder.emit(relax.op.multiply(x, relax.const(_array(*factor_shape))), "scaled")
            output = builder.emit_output(linear(scaled), "linear")
        builder.emit_func_output(output)
    reason = reasons(check_unchanged(FoldScale(), builder.get()))["linear"]
    assert reason == "the factor scaled broadcasts its input to another shape"
