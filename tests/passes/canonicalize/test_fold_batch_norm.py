"""FoldBatchNorm: weights and bias scaled, every kind of convolution, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from pass_checks import FLOAT32_TOLERANCE, check_numbers, check_rewrite, check_unchanged, node_names, reasons, run_pass
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.program import Rewrite
from lepton_compiler.passes.canonicalize.fold_batch_norm import FoldBatchNorm

_RANDOM = np.random.default_rng(1)


def _array(*shape: int) -> np.ndarray:
    return _RANDOM.uniform(0.5, 1.5, size=shape).astype("float32")


WEIGHTS, BIAS = _array(4, 3, 3, 3), _array(1, 4, 1, 1)
GAMMA, BETA, MEAN, VARIANCE = (_array(4) for _ in range(4))
SCALE = GAMMA.astype("float64") / np.sqrt(VARIANCE.astype("float64") + 1e-5)
SHIFT = BETA.astype("float64") - MEAN.astype("float64") * SCALE

W, B = relax.const(WEIGHTS), relax.const(BIAS)
G, T, M, V = (relax.const(vector) for vector in (GAMMA, BETA, MEAN, VARIANCE))
W_FOLDED = relax.const((WEIGHTS.astype("float64") * SCALE.reshape(4, 1, 1, 1)).astype("float32"))
B_FOLDED = relax.const((BIAS.reshape(4).astype("float64") * SCALE + SHIFT).astype("float32").reshape(1, 4, 1, 1))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 3, 8, 8), "float32")):
        with R.dataflow():
            conv1 = R.nn.conv2d(x, W, padding=[1, 1, 1, 1])
            bias1 = R.add(conv1, B)
            norm = R.nn.batch_norm(bias1, G, T, M, V, axis=1, epsilon=1e-5, training=False)
            bn1 = norm[0]
            relu1 = R.nn.relu(bn1)
            R.output(relu1)
        return relu1


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 3, 8, 8), "float32")):
        with R.dataflow():
            conv1 = R.nn.conv2d(x, W_FOLDED, padding=[1, 1, 1, 1])
            bn1 = R.add(conv1, B_FOLDED)
            relu1 = R.nn.relu(bn1)
            R.output(relu1)
        return relu1


def test_folds_behind_a_bias() -> None:
    result = check_rewrite(FoldBatchNorm(), Before, Expected)
    assert node_names(result.module) == ["conv1", "bias1+bn1", "relu1"]
    assert result.rewrites == (Rewrite("bias1+bn1", "batch norm folded into the weights of conv1"),)


def _constant(*shape: int) -> relax.Expr:
    return relax.const(_array(*shape))


def _module(
    shape: tuple[int, ...],
    linear: Callable[[relax.Expr], relax.Expr],
    channels: int,
    axis: int = 1,
    *,
    between: Callable[[relax.BlockBuilder, relax.Var], relax.Expr] | None = None,
    also_output: bool = False,
    training: bool = False,
) -> tvm.IRModule:
    """``batch_norm(between(linear(x)))``; ``also_output`` returns the linear operator's output too."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            conv = builder.emit(linear(x), "conv")
            data = conv if between is None else builder.emit(between(builder, conv), "between")
            parameters = [_constant(channels) for _ in range(4)]
            norm = builder.emit(relax.op.nn.batch_norm(data, *parameters, axis=axis, training=training), "norm")
            bn = builder.emit(relax.TupleGetItem(norm, 0), "bn")
            output = builder.emit_output(relax.Tuple([bn, conv] if also_output else [bn]))
        builder.emit_func_output(output)
    return builder.get()


def _conv2d(x: relax.Expr) -> relax.Expr:
    return relax.op.nn.conv2d(x, _constant(4, 3, 1, 1))


LINEAR = {
    "conv1d": ((1, 4, 9), lambda x: relax.op.nn.conv1d(x, _constant(6, 4, 3)), 6, 1),
    "conv2d_grouped": ((1, 4, 5, 5), lambda x: relax.op.nn.conv2d(x, _constant(6, 2, 3, 3), groups=2), 6, 1),
    "conv2d_depthwise": ((1, 4, 5, 5), lambda x: relax.op.nn.conv2d(x, _constant(4, 1, 3, 3), groups=4), 4, 1),
    "conv2d_channels_last": (
        (1, 5, 5, 4),
        lambda x: relax.op.nn.conv2d(x, _constant(3, 3, 4, 6), data_layout="NHWC", kernel_layout="HWIO"),
        6,
        3,
    ),
    "conv3d": ((1, 2, 4, 4, 4), lambda x: relax.op.nn.conv3d(x, _constant(3, 2, 2, 2, 2)), 3, 1),
    "conv1d_transpose": ((1, 4, 5), lambda x: relax.op.nn.conv1d_transpose(x, _constant(4, 3, 2), strides=2), 3, 1),
    "conv2d_transpose": ((1, 4, 5, 5), lambda x: relax.op.nn.conv2d_transpose(x, _constant(4, 3, 2, 2)), 3, 1),
    "conv2d_transpose_grouped": (
        (1, 4, 5, 5),
        lambda x: relax.op.nn.conv2d_transpose(x, _constant(4, 3, 2, 2), groups=2),
        6,
        1,
    ),
    "matmul": ((5, 4), lambda x: relax.op.matmul(x, _constant(4, 6)), 6, 1),
    "batched_matmul": ((2, 5, 4), lambda x: relax.op.matmul(x, _constant(4, 6)), 6, -1),
}


@pytest.mark.parametrize("name", LINEAR)
def test_folds_into_every_linear_operator(name: str) -> None:
    before = _module(*LINEAR[name])
    result = run_pass(FoldBatchNorm(), before)
    assert [operator_name(b.value) for b in bindings(result.module)][1:] == ["relax.add"]
    assert node_names(result.module) == ["conv", "bn"]
    check_numbers(before, result.module, tolerance=FLOAT32_TOLERANCE)


def test_joins_the_names_where_no_bias_is_left() -> None:
    weights = relax.const(np.ones((4, 3, 1, 1), "float32"))
    zeros, ones = relax.const(np.zeros(4, "float32")), relax.const(np.ones(4, "float32"))

    @I.ir_module
    class ZeroMean:
        @R.function
        def main(x: R.Tensor((1, 3, 8, 8), "float32")):
            with R.dataflow():
                conv = R.nn.conv2d(x, weights)
                norm = R.nn.batch_norm(conv, ones, zeros, zeros, ones, axis=1, training=False)
                bn = norm[0]
                R.output(bn)
            return bn

    assert node_names(run_pass(FoldBatchNorm(), ZeroMean).module) == ["conv+bn"]


def _per_row(builder: relax.BlockBuilder, conv: relax.Var) -> relax.Expr:
    return relax.op.add(conv, _constant(1, 1, 5, 1))


def _relu(builder: relax.BlockBuilder, conv: relax.Var) -> relax.Expr:
    return relax.op.nn.relu(conv)


SHAPE = (1, 3, 5, 5)
REFUSALS = {
    "the output of conv is read by 2 nodes": lambda: _module(SHAPE, _conv2d, 4, also_output=True),
    "it normalizes by the statistics of the batch (training_mode is 1)": lambda: _module(
        SHAPE, _conv2d, 4, training=True
    ),
    "its input between is no convolution or matmul": lambda: _module(SHAPE, _conv2d, 4, between=_relu),
    "the constant that between adds to conv is not one value a channel": lambda: _module(
        SHAPE, _conv2d, 4, between=_per_row
    ),
    "it normalizes axis 3, the channels of conv are axis 1": lambda: _module(SHAPE, _conv2d, 5, axis=3),
    "conv can't take it: its weights are not a constant": lambda: _module(
        (4, 3, 3, 3), lambda x: relax.op.nn.conv2d(x, x, padding=1), 4
    ),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_refuses(reason: str) -> None:
    assert reasons(check_unchanged(FoldBatchNorm(), REFUSALS[reason]())) == {"bn": reason}


def test_refuses_weights_that_would_overflow() -> None:
    weights = relax.const(np.full((4, 3, 1, 1), 3e4, "float16"))
    ones, zeros = relax.const(np.ones(4, "float16")), relax.const(np.zeros(4, "float16"))
    gamma = relax.const(np.full(4, 10, "float16"))

    @I.ir_module
    class Large:
        @R.function
        def main(x: R.Tensor((1, 3, 8, 8), "float16")):
            with R.dataflow():
                conv = R.nn.conv2d(x, weights)
                norm = R.nn.batch_norm(conv, gamma, zeros, zeros, ones, axis=1, training=False)
                bn = norm[0]
                R.output(bn)
            return bn

    result = check_unchanged(FoldBatchNorm(), Large)
    assert reasons(result) == {"bn": "the folded weights of conv leave the range of float16"}
