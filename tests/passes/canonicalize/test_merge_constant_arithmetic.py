"""MergeConstantArithmetic: sums, products and scaled sums, and what must stay apart."""

from __future__ import annotations

import numpy as np
from pass_checks import check_rewrite, check_unchanged, node_names, reasons
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.merge_constant_arithmetic import MergeConstantArithmetic

A, B = np.array([0.5, 2.0, 3.0], "float32"), np.array([[4.0], [8.0]], "float32")
FIRST, SECOND = relax.const(A), relax.const(B)
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
    assert [(r.node, r.what) for r in result.rewrites] == [("minus", "merged with plus"), ("over", "merged with times")]


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
