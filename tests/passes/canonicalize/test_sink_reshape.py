"""SinkReshape: elementwise operators move in front of a reshape where every operand fits there."""

from __future__ import annotations

import numpy as np
from pass_checks import check_rewrite, check_unchanged, node_names, reasons
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.sink_reshape import SinkReshape

VALUES = np.linspace(-1, 1, 4, dtype="float32")
WEIGHTS = relax.const(np.ones((3, 4), "float32"))
BIAS, BIAS_3D, ROWS = relax.const(VALUES), relax.const(VALUES.reshape(1, 1, 4)), relax.const(VALUES.reshape(2, 2, 1))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((4, 3), "float32")):
        with R.dataflow():
            product = R.matmul(x, WEIGHTS)
            view = R.reshape(product, R.shape([2, 2, 4]))
            biased = R.add(view, BIAS_3D)
            scaled = R.multiply(R.const(2.0), biased)
            y = R.nn.relu(scaled)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((4, 3), "float32")):
        with R.dataflow():
            product = R.matmul(x, WEIGHTS)
            biased = R.add(product, BIAS)
            scaled = R.multiply(R.const(2.0), biased)
            relu = R.nn.relu(scaled)
            y = R.reshape(relu, R.shape([2, 2, 4]))
            R.output(y)
        return y


def test_bias_scale_and_activation_move_next_to_the_matmul() -> None:
    result = check_rewrite(SinkReshape(), Before, Expected, tolerance=0)
    assert node_names(result.module) == ["product", "biased", "scaled", "y", "view"]
    assert {r.what for r in result.rewrites} == {"moved before the reshape view"}


def test_refuses_operands_that_do_not_fit() -> None:
    @I.ir_module
    class Misfits:
        @R.function
        def main(x: R.Tensor((4, 3), "float32"), z: R.Tensor((2, 2, 4), "float32")):
            with R.dataflow():
                product = R.matmul(x, WEIGHTS)
                view1 = R.reshape(product, R.shape([2, 2, 4]))
                rows = R.add(view1, ROWS)
                view2 = R.reshape(product, R.shape([2, 2, 4]))
                residual = R.add(view2, z)
                view3 = R.reshape(product, R.shape([1, 16]))
                grown = R.add(view3, R.const([[1.0], [2.0]], "float32"))
                view4 = R.reshape(product, R.shape([16]))
                both = R.exp(view4)
                R.output(rows, residual, grown, both, view4)
            return (rows, residual, grown, both, view4)

    assert reasons(check_unchanged(SinkReshape(), Misfits)) == {
        "rows": "it reads a constant that does not fit the shape before the reshape view1",
        "residual": "it reads an operand that does not fit the shape before the reshape view2",
        "grown": "it broadcasts the output of the reshape view3",
        "both": "the reshape view4 before it is read by 2 nodes",
    }


def test_leaves_reshaped_inputs_alone() -> None:
    @I.ir_module
    class Input:
        @R.function
        def main(x: R.Tensor((4, 3), "float32")):
            with R.dataflow():
                view = R.reshape(x, R.shape([12]))
                y = R.nn.relu(view)
                R.output(y)
            return y

    assert check_unchanged(SinkReshape(), Input).declines == ()
