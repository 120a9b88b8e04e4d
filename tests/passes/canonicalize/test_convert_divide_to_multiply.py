"""ConvertDivideToMultiply: divisors that have a reciprocal, and those that have none or are no constants."""

from __future__ import annotations

import numpy as np
import pytest
from pass_checks import check_rewrite, check_unchanged, reasons
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.convert_divide_to_multiply import ConvertDivideToMultiply
from lepton_compiler.targets.registry import get_target

THREE, THIRD = relax.const(np.float32(3)), relax.const(np.float32(1 / 3))
COLUMNS = np.array([2, -5, 7], np.float32)
DIVISORS, FACTORS = relax.const(COLUMNS), relax.const((1 / COLUMNS.astype(np.float64)).astype(np.float32))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            y = R.divide(x, THREE)
            z = R.divide(y, DIVISORS)
            R.output(z)
        return z


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            y = R.multiply(x, THIRD)
            z = R.multiply(y, FACTORS)
            R.output(z)
        return z


def test_divisions_become_products():
    check_rewrite(ConvertDivideToMultiply(), Before, Expected, tolerance=3e-7)


def _division(divisor, dtype="float32", turned=False):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), dtype))
    with builder.function("main", [x]):
        with builder.dataflow():
            other = relax.const(np.asarray(divisor, dtype)) if divisor is not None else x
            operands = (other, x) if turned else (x, other)
            output = builder.emit_output(relax.op.divide(*operands))
        builder.emit_func_output(output)
    return builder.get()


@pytest.mark.parametrize("divisor", [0.0, np.inf, np.nan, 1e-45, 3e38, [2.0, 0.0, 1.0]])
def test_divisors_without_a_normal_reciprocal_stay(divisor):
    result = check_unchanged(ConvertDivideToMultiply(), _division(divisor))
    assert list(reasons(result).values()) == ["the reciprocal of its divisor is no normal number"]


@pytest.mark.parametrize(
    "module",
    [_division(None), _division(3.0, turned=True), _division(3, "int32"), _division(3.0, "float16")],
    ids=["two run-time values", "constant on the left", "integers", "float16"],
)
def test_other_divisions_stay(module):
    assert reasons(check_unchanged(ConvertDivideToMultiply(), module)) == {}


@pytest.mark.parametrize(("divisor", "converted"), [(41.0, False), (-0.25, True), ([2.0, 3.0, 4.0], False)])
def test_what_jumps_reads_exact_quotients(divisor, converted):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            quotient = builder.emit(relax.op.divide(x, relax.const(np.asarray(divisor, np.float32))))
            output = builder.emit_output(relax.op.floor(quotient))
        builder.emit_func_output(output)
    result = ConvertDivideToMultiply().run(builder.get(), get_target("x86-64-v2"))
    assert bool(result.rewrites) == converted
    expected = [] if converted else ["its quotient is read by floor, which jumps"]
    assert list(reasons(result).values()) == expected
