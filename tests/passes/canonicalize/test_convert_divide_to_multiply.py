"""ConvertDivideToMultiply: GELU's division, and divisions that stay."""

from __future__ import annotations

import numpy as np
from pass_checks import check_rewrite, check_unchanged, node_names, reasons
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.convert_divide_to_multiply import ConvertDivideToMultiply

ROOT = relax.const(np.float32(2**0.5))
RECIPROCAL = relax.const(np.float32(1 / np.float64(np.float32(2**0.5))))
EXTREME = relax.const(np.array([1.0, 0.0, 3e38, np.inf], "float32"))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((3, 4), "float32")):
        with R.dataflow():
            scaled = R.divide(x, ROOT)
            y = R.erf(scaled)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((3, 4), "float32")):
        with R.dataflow():
            scaled = R.multiply(x, RECIPROCAL)
            y = R.erf(scaled)
            R.output(y)
        return y


def test_multiplies_by_the_reciprocal() -> None:
    result = check_rewrite(ConvertDivideToMultiply(), Before, Expected)
    assert node_names(result.module) == ["scaled", "y"]
    assert result.rewrites[0].what == "the division scaled before it became a multiplication"


def test_refuses_divisors_without_a_normal_reciprocal() -> None:
    @I.ir_module
    class Refused:
        @R.function
        def main(x: R.Tensor((3, 4), "float32")):
            with R.dataflow():
                a = R.divide(x, EXTREME)
                y = R.erf(a)
                R.output(y)
            return y

    assert reasons(check_unchanged(ConvertDivideToMultiply(), Refused)) == {
        "y": "the divisor of a has no normal reciprocal"
    }


def test_refuses_a_quotient_that_others_read() -> None:
    @I.ir_module
    class Refused:
        @R.function
        def main(x: R.Tensor((3, 4), "float32")):
            with R.dataflow():
                a = R.divide(x, ROOT)
                y = R.erf(a)
                z = R.add(y, a)
                R.output(z)
            return z

    assert reasons(check_unchanged(ConvertDivideToMultiply(), Refused)) == {"y": "the quotient a is read by 2 nodes"}


def test_leaves_functions_that_jump() -> None:
    @I.ir_module
    class Floor:
        @R.function
        def main(x: R.Tensor((3, 4), "float32")):
            with R.dataflow():
                a = R.divide(x, ROOT)
                y = R.floor(a)
                R.output(y)
            return y

    assert reasons(check_unchanged(ConvertDivideToMultiply(), Floor)) == {}
