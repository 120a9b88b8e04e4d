"""ConvertTakeToSlice: scalar, ranged and strided indices, and those that no slice can express."""

from __future__ import annotations

import numpy as np
import tvm
from pass_checks import check_rewrite, check_unchanged, node_names, reasons
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.convert_take_to_slice import ConvertTakeToSlice

ONE, EVEN = relax.const(np.int64(1)), relax.const(np.array([0, 2], "int64"))
UNEVEN, OUTSIDE = relax.const(np.array([2, 0, 1], "int64")), relax.const(np.array([3], "int64"))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((3, 4), "float32")):
        with R.dataflow():
            row = R.take(x, ONE, axis=0)
            rows = R.take(x, EVEN, axis=0)
            R.output(row, rows)
        return (row, rows)


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((3, 4), "float32")):
        with R.dataflow():
            piece = R.strided_slice(x, [0], [1], [2], [1])
            row = R.reshape(piece, R.shape([4]))
            rows = R.strided_slice(x, [0], [0], [3], [2])
            R.output(row, rows)
        return (row, rows)


def test_constant_indices_become_slices() -> None:
    result = check_rewrite(ConvertTakeToSlice(), Before, Expected, tolerance=0)
    assert node_names(result.module) == ["row", "row", "rows"]
    assert result.rewrites[1].what == "its indices are constants: now the slice 0:3:2 of axis 0"


def test_refuses_what_no_slice_can_express() -> None:
    @I.ir_module
    class Refused:
        @R.function
        def main(x: R.Tensor((3, 4), "float32")):
            with R.dataflow():
                a = R.take(x, UNEVEN, axis=0)
                b = R.take(x, OUTSIDE, axis=0, mode="clip")
                R.output(a, b)
            return (a, b)

    assert reasons(check_unchanged(ConvertTakeToSlice(), Refused)) == {
        "a": "its indices are not evenly spaced and growing",
        "b": "its indices 3 to 3 leave the extent 3 of axis 0",
    }


def test_refuses_symbolic_extents() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([tvm.tirx.Var("n", "int64"), 4], "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            taken = builder.emit(relax.op.take(x, ONE, axis=0), "taken")
            output = builder.emit_output(taken)
        builder.emit_func_output(output)
    result = check_unchanged(ConvertTakeToSlice(), builder.get())
    assert reasons(result) == {"taken": "the extent n of axis 0 is symbolic, so its indices can't be checked"}
