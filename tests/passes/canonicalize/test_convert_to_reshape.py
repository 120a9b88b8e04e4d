"""ConvertToReshape: views of every kind become one reshape."""

from __future__ import annotations

import tvm
from pass_checks import check_numbers, check_rewrite, check_unchanged, node_names, reasons, run_pass
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.convert_to_reshape import ConvertToReshape


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 1, 3, 1), "float32")):
        with R.dataflow():
            start = R.exp(x)
            squeezed = R.squeeze(start, axis=[1])
            wider = R.expand_dims(squeezed, axis=[0])
            moved = R.permute_dims(wider, axes=[1, 2, 0, 3])
            flat = R.flatten(moved)
            y = R.exp(flat)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 1, 3, 1), "float32")):
        with R.dataflow():
            start = R.exp(x)
            view = R.reshape(start, R.shape([6]))
            y = R.exp(view)
            R.output(y)
        return y


def test_a_chain_of_views_becomes_one_reshape() -> None:
    result = check_rewrite(ConvertToReshape(), Before, Expected, tolerance=0)
    assert node_names(result.module)[0::2] == ["start", "y"]
    assert node_names(result.module)[1].endswith("+flat")


def test_symbolic_shapes() -> None:
    builder = relax.BlockBuilder()
    n = tvm.tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType([n, 1, 4], "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            moved = builder.emit(relax.op.permute_dims(x, [1, 0, 2]), "moved")
            output = builder.emit_output(moved)
        builder.emit_func_output(output)
    before = builder.get()
    result = run_pass(ConvertToReshape(), before)
    assert [r.what for r in result.rewrites] == ["moves dimensions of extent 1 only: now a reshape"]
    check_numbers(before, result.module, tolerance=0, dimensions={"n": 3})


def test_leaves_transposes_that_move_elements() -> None:
    @I.ir_module
    class Moving:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                y = R.permute_dims(x)
                R.output(y)
            return y

    check_unchanged(ConvertToReshape(), Moving)


def test_refuses_to_merge_with_a_reshape_that_is_read_elsewhere() -> None:
    @I.ir_module
    class Shared:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                a = R.reshape(x, R.shape([6]))
                b = R.reshape(a, R.shape([3, 2]))
                R.output(a, b)
            return (a, b)

    result = check_unchanged(ConvertToReshape(), Shared)
    assert reasons(result) == {"b": "the reshape a before it is read by other nodes too"}
