"""FuseLayerNorm: the exporters' spellings, the parameters behind, and what is something else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from pass_checks import check_numbers, check_rewrite, check_unchanged, node_names, reasons, run_pass
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.passes.fusion.fuse_layer_norm import FuseLayerNorm

TOLERANCE = 5e-6
"""The fused operator takes the variance as a difference of two sums."""

GAMMA, BETA = np.linspace(0.5, 2, 4, dtype="float32"), np.linspace(-1, 1, 4, dtype="float32")
G, B, B_WIDE = relax.const(GAMMA), relax.const(BETA), relax.const(BETA.reshape(1, 1, 4))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 3, 4), "float32")):
        with R.dataflow():
            mean = R.mean(x, axis=[-1], keepdims=True)
            centred = R.subtract(x, mean)
            square = R.power(centred, R.const(2.0))
            variance = R.mean(square, axis=[-1], keepdims=True)
            shifted = R.add(variance, R.const(0.5))
            deviation = R.sqrt(shifted)
            div = R.divide(centred, deviation)
            mul = R.multiply(div, G)
            add = R.add(B_WIDE, mul)
            R.output(add)
        return add


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 3, 4), "float32")):
        with R.dataflow():
            norm = R.nn.layer_norm(x, G, B, axes=[2], epsilon=0.5)
            R.output(norm)
        return norm


def test_recognizes_the_arithmetic_with_its_parameters() -> None:
    result = check_rewrite(FuseLayerNorm(), Before, Expected, tolerance=TOLERANCE)
    norm = "mean+centred+square+variance+shifted+deviation+div"
    assert node_names(result.module) == [f"{norm}+mul+add"]
    assert [(r.node, r.what) for r in result.rewrites] == [
        (norm, "recognized as layer normalization"),
        (f"{norm}+mul", "scale taken into the layer normalization"),
        (f"{norm}+mul+add", "shift taken into the layer normalization"),
    ]


def _module(square: str, axes: list[int], *, variance_axes: list[int] | None = None) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3, 4), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            centred = builder.emit(relax.op.subtract(x, builder.emit(relax.op.mean(x, axes, keepdims=True))))
            squares = {
                "multiply": lambda: relax.op.multiply(centred, centred),
                "square": lambda: relax.op.square(centred),
                "cube": lambda: relax.op.power(centred, relax.const(3.0)),
            }
            power = builder.emit(squares[square]())
            variance = builder.emit(relax.op.mean(power, variance_axes or axes, keepdims=True))
            root = builder.emit(relax.op.sqrt(builder.emit(relax.op.add(variance, relax.const(1e-5)))))
            div = builder.emit(relax.op.divide(centred, root), "div")
            output = builder.emit_output(div)
        builder.emit_func_output(output)
    return builder.get()


@pytest.mark.parametrize("square", ["multiply", "square"])
def test_recognizes_every_way_to_square(square: str) -> None:
    before = _module(square, [1, 2])
    result = run_pass(FuseLayerNorm(), before)
    assert [operator_name(binding.value) for binding in bindings(result.module)] == ["relax.nn.layer_norm"]
    check_numbers(before, result.module, tolerance=TOLERANCE)


def test_refuses_axes_that_no_kernel_normalizes() -> None:
    assert reasons(check_unchanged(FuseLayerNorm(), _module("square", [1]))) == {
        "div": "it normalizes axes [1], which are not the last ones"
    }
    assert reasons(check_unchanged(FuseLayerNorm(), _module("square", [2], variance_axes=[1, 2]))) == {
        "div": "its mean and its variance are taken over different axes"
    }


def test_leaves_other_moments_alone() -> None:
    assert check_unchanged(FuseLayerNorm(), _module("cube", [2])).declines == ()


@pytest.mark.parametrize("operator", [relax.op.multiply, relax.op.add])
def test_refuses_parameters_that_add_dimensions(operator: Callable[..., relax.Expr]) -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 4), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            ones, zeros = relax.const(np.ones(4, "float32")), relax.const(np.zeros(4, "float32"))
            norm = builder.emit(relax.op.nn.layer_norm(x, ones, zeros, [1], 1e-5), "norm")
            result = builder.emit(operator(norm, B_WIDE), "wider")
            output = builder.emit_output(result)
        builder.emit_func_output(output)
    assert reasons(check_unchanged(FuseLayerNorm(), builder.get())) == {
        "wider": "its constant has 3 dimensions, more than the 2 of norm"
    }


def test_refuses_parameters_along_other_axes() -> None:
    rows = relax.const(np.ones((3, 1), "float32"))

    @I.ir_module
    class PerRow:
        @R.function
        def main(x: R.Tensor((2, 3, 4), "float32")):
            with R.dataflow():
                norm = R.nn.layer_norm(
                    x, R.const([1.0, 1.0, 1.0, 1.0]), R.const([0.0, 0.0, 0.0, 0.0]), axes=[2], epsilon=0.5
                )
                scaled = R.multiply(norm, rows)
                R.output(scaled)
            return scaled

    assert reasons(check_unchanged(FuseLayerNorm(), PerRow)) == {
        "scaled": "its constant varies along other axes than those that norm normalizes"
    }
