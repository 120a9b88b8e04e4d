"""MergeConstantArithmetic: sums, products and scaled sums, and what must stay apart."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import check_rewrite, check_unchanged, node_names, reasons, run_pass
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.contracts import bindings
from lepton_compiler.passes.canonicalize.merge_constant_arithmetic import MergeConstantArithmetic

A, B = np.array([0.5, 2.0, 3.0], "float32"), np.array([[8.0, 8.0, 8.0], [16.0, 16.0, 16.0]], "float32")
FIRST, SECOND = relax.const(A), relax.const(B)
COLUMN = relax.const(np.array([[4.0], [8.0]], "float32"))
SUM, PRODUCT = relax.const(A - B), relax.const(A / B)
SCALE, SHIFT = relax.const(A * B), relax.const(A * B)


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            plus = R.add(x, FIRST)
            minus = R.subtract(plus, SECOND)
            root = R.exp(minus)
            times = R.multiply(FIRST, root)
            over = R.divide(times, SECOND)
            R.output(over)
        return over


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            total = R.add(x, SUM)
            root = R.exp(total)
            product = R.multiply(root, PRODUCT)
            R.output(product)
        return product


def test_merges_sums_and_products() -> None:
    result = check_rewrite(MergeConstantArithmetic(), Before, Expected)
    assert node_names(result.module) == ["plus+minus", "root", "times+over"]
    assert [(r.node, r.what) for r in result.rewrites] == [
        ("plus+minus", "merged with plus"),
        ("times+over", "merged with times"),
    ]


def test_multiplies_a_scaled_sum_out() -> None:
    @I.ir_module
    class ScaledSum:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                bn_scale = R.multiply(x, FIRST)
                bn_shift = R.add(bn_scale, FIRST)
                scale = R.multiply(bn_shift, SECOND)
                shift = R.add(scale, FIRST)
                R.output(shift)
            return shift

    merged_shift = relax.const(A * B + A)

    @I.ir_module
    class OneScale:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                scale = R.multiply(x, SCALE)
                shift = R.add(scale, merged_shift)
                R.output(shift)
            return shift

    result = check_rewrite(MergeConstantArithmetic(), ScaledSum, OneScale)
    assert node_names(result.module) == ["bn_scale", "bn_shift+scale+shift"]


def test_refuses_values_that_are_read_elsewhere() -> None:
    @I.ir_module
    class Shared:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                first = R.add(x, FIRST)
                second = R.add(first, SECOND)
                R.output(first, second)
            return (first, second)

    result = check_unchanged(MergeConstantArithmetic(), Shared)
    assert reasons(result) == {"second": "first before it is read by 2 nodes"}


def test_refuses_constants_that_would_overflow() -> None:
    @I.ir_module
    class Large:
        @R.function
        def main(x: R.Tensor((2, 3), "float16")):
            with R.dataflow():
                first = R.multiply(x, R.const(300.0, "float16"))
                second = R.multiply(first, R.const(300.0, "float16"))
                R.output(second)
            return second

    result = check_unchanged(MergeConstantArithmetic(), Large)
    assert reasons(result) == {"second": "its constant merged with that of first leaves the range of float16"}


def test_leaves_integers_and_mixed_operators_alone() -> None:
    @I.ir_module
    class Apart:
        @R.function
        def main(x: R.Tensor((2, 3), "float32"), i: R.Tensor((2,), "int32")):
            with R.dataflow():
                plus = R.add(x, FIRST)
                times = R.multiply(plus, FIRST)
                inverse = R.divide(R.const(1.0), times)
                i1 = R.add(i, R.const(1))
                i2 = R.add(i1, R.const(1))
                R.output(inverse, i2)
            return (inverse, i2)

    assert check_unchanged(MergeConstantArithmetic(), Apart).declines == ()


def _chain(operator: str, first: object, second: object, dtype: str = "float32") -> tvm.IRModule:
    """``(x operator first) operator second``."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), dtype))
    make = {"add": relax.op.add, "multiply": relax.op.multiply}[operator]
    with builder.function("main", [x]):
        with builder.dataflow():
            inner = builder.emit(make(x, relax.const(np.array(first, dtype), dtype)), "first")
            output = builder.emit_output(make(inner, relax.const(np.array(second, dtype), dtype)), "second")
        builder.emit_func_output(output)
    return builder.get()


ROUNDING = 12582912.0
"""1.5 * 2^23: adding it and taking it away again rounds a small float32 to an integer."""


@pytest.mark.parametrize(
    ("first", "second"), [(ROUNDING, -ROUNDING), (1e20, -1e20), ([1.0, 1.0, 4.0], [1.0, 1.0, -3.0]), (-5.0, 3.0)]
)
def test_refuses_sums_that_cancel(first: object, second: object) -> None:
    result = check_unchanged(MergeConstantArithmetic(), _chain("add", first, second))
    reason = "cancels it, and with it what the addition in between rounds away"
    assert reasons(result) == {"second": f"its constant merged with that of first {reason}"}


@pytest.mark.parametrize(
    ("first", "second", "dtype", "exponent"),
    [
        (1e-30, 1e30, "float32", 64),
        (1e25, 1e-25, "float32", 64),
        (1e-15, 1e-15, "float32", 64),
        (1024.0, 1 / 1024, "float16", 8),
        (1e200, 1e-200, "float64", 512),
    ],
)
def test_refuses_products_with_extreme_factors(first: float, second: float, dtype: str, exponent: int) -> None:
    result = check_unchanged(MergeConstantArithmetic(), _chain("multiply", first, second, dtype))
    assert reasons(result) == {
        "second": "its constant merged with that of first drops a product that may overflow or become 0: "
        f"a factor is outside of 2^-{exponent} to 2^{exponent}"
    }


@pytest.mark.parametrize("operator", ["add", "multiply"])
def test_refuses_constants_that_would_grow(operator: str) -> None:
    module = _chain(operator, [[1.0], [2.0]], [[1.0, 2.0, 3.0]])
    result = check_unchanged(MergeConstantArithmetic(), module)
    assert reasons(result) == {"second": "its constant merged with that of first grows to 6 elements"}


@pytest.mark.parametrize(
    ("operator", "first", "second", "merged"),
    [
        ("add", 1e20, 1e20, 2e20),
        ("add", 0.0, -3.0, -3.0),
        ("add", 4.0, -2.0, 2.0),
        ("multiply", 0.0, 3.0, 0.0),
        ("multiply", 2.0**-64, 2.0**64, 1.0),
    ],
)
def test_merges_up_to_the_limits(operator: str, first: float, second: float, merged: float) -> None:
    result = run_pass(MergeConstantArithmetic(), _chain(operator, first, second))
    (node,) = bindings(result.module)
    assert float(node.value.args[1].value.numpy()) == np.float32(merged)


def test_refuses_to_multiply_out_what_would_grow() -> None:
    @I.ir_module
    class ScaledSum:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                product = R.multiply(x, COLUMN)
                shifted = R.add(product, FIRST)
                scaled = R.multiply(shifted, FIRST)
                R.output(scaled)
            return scaled

    result = check_unchanged(MergeConstantArithmetic(), ScaledSum)
    assert reasons(result) == {"scaled": "its constant merged with that of product grows to 6 elements"}
