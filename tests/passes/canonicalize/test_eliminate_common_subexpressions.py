"""EliminateCommonSubexpressions: equal operators on equal inputs, constants included."""

from __future__ import annotations

import numpy as np
from pass_checks import check_rewrite, check_unchanged, node_names
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.eliminate_common_subexpressions import EliminateCommonSubexpressions

ONES, ONES_AGAIN = relax.const(np.ones(3, "float32")), relax.const(np.ones(3, "float32"))
TWOS = relax.const(np.full(3, 2, "float32"))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            a = R.add(x, ONES)
            b = R.add(x, ONES_AGAIN)
            c = R.exp(a)
            d = R.exp(b)
            y = R.multiply(c, d)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            a = R.add(x, ONES)
            c = R.exp(a)
            y = R.multiply(c, c)
            R.output(y)
        return y


def test_computes_equal_chains_once() -> None:
    result = check_rewrite(EliminateCommonSubexpressions(), Before, Expected, tolerance=0)
    assert node_names(result.module) == ["a", "c", "y"]
    assert [(r.node, r.what) for r in result.rewrites] == [
        ("b", "computes the same as a: taken from there"),
        ("d", "computes the same as c: taken from there"),
    ]


def test_leaves_what_differs_in_a_constant_an_attribute_or_an_input() -> None:
    @I.ir_module
    class Different:
        @R.function
        def main(x: R.Tensor((2, 3), "float32"), z: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                a = R.add(x, ONES)
                b = R.add(x, TWOS)
                c = R.add(z, ONES)
                d = R.sum(x, axis=[0])
                e = R.sum(x, axis=[1])
                R.output(a, b, c, d, e)
            return (a, b, c, d, e)

    check_unchanged(EliminateCommonSubexpressions(), Different)
