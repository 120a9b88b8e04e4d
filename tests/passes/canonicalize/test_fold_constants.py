"""FoldConstants: by NumPy, through LLVM, kernels of the importer, and the limit on growth."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import check_numbers, check_rewrite, check_unchanged, evaluate, node_names, reasons, run_pass
from tvm import relax, topi
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.passes.canonicalize.fold_constants import FoldConstants

WEIGHTS = np.arange(6, dtype="float32").reshape(2, 3)
W, W_FOLDED = relax.const(WEIGHTS), relax.const(np.ascontiguousarray(WEIGHTS.T) * np.float32(2))


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((4, 3), "float32")):
        with R.dataflow():
            transposed = R.permute_dims(W, axes=[1, 0])
            doubled = R.multiply(transposed, R.const(2.0))
            y = R.matmul(x, doubled)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((4, 3), "float32")):
        with R.dataflow():
            y = R.matmul(x, W_FOLDED)
            R.output(y)
        return y


def test_folds_a_chain_to_its_end() -> None:
    result = check_rewrite(FoldConstants(), Before, Expected, tolerance=0)
    assert node_names(result.module) == ["y"]
    assert [(r.node, r.what) for r in result.rewrites] == [
        ("transposed", "computed from constants"),
        ("doubled", "computed from constants"),
    ]


def _module(*steps: relax.Expr, dtype: str = "float32") -> tvm.IRModule:
    """A module whose outputs are the given expressions of constants."""
    builder = relax.BlockBuilder()
    with builder.function("main", [relax.Var("x", relax.TensorType((1,), dtype))]):
        with builder.dataflow():
            outputs = [builder.emit(step, f"step{i}") for i, step in enumerate(steps)]
            output = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(output)
    return builder.get()


_SMALL = relax.const(np.array([[1.5, -0.0, np.inf], [np.nan, 2.0, -3.0]], "float32"))
_INTEGERS = relax.const(np.array([7, -7, 100], "int32"))
OPERATORS = {
    "reshape": relax.op.reshape(_SMALL, (3, 2)),
    "expand_dims": relax.op.expand_dims(_SMALL, 0),
    "permute_dims": relax.op.permute_dims(_SMALL),
    "concat": relax.op.concat([_SMALL, _SMALL], axis=1),
    "broadcast_to": relax.op.broadcast_to(_SMALL, (2, 2, 3)),
    "isnan": relax.op.isnan(_SMALL),
    "where": relax.op.where(relax.const(np.array([True, False, True])), _SMALL, relax.const(np.float32(9))),
    "less": relax.op.less(_SMALL, relax.const(np.float32(1.6))),
    "astype": relax.op.astype(_INTEGERS, "int64"),
    "sqrt": relax.op.sqrt(relax.const(np.array([4.0, 2.0], "float32"))),
    "floor_divide": relax.op.floor_divide(_INTEGERS, relax.const(np.int32(2))),
    "integer_divide": relax.op.divide(_INTEGERS, relax.const(np.int32(2))),
    "strided_slice": relax.op.strided_slice(_SMALL, [1], [2], [-4], [-1]),
    "sum": relax.op.sum(relax.const(np.array([[1.0, 2.0], [3.0, 4.0]], "float32")), axis=[1]),
    "arange": relax.op.arange(0, 6, 2, "int64"),
    "full": relax.op.full((2, 2), relax.const(np.float32(3)), "float32"),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_gives_the_bits_that_the_kernel_would_compute(name: str) -> None:
    before = _module(OPERATORS[name])
    result = run_pass(FoldConstants(), before)
    assert node_names(result.module) == []
    check_numbers(before, result.module, tolerance=0)


KEEP_NAN = {
    "relu": (relax.op.nn.relu(_SMALL), lambda x: np.maximum(x, 0)),
    "maximum": (relax.op.maximum(relax.const(np.float32(1)), _SMALL), lambda x: np.maximum(x, 1)),
    "minimum": (relax.op.minimum(_SMALL, relax.const(np.float32(1))), lambda x: np.minimum(x, 1)),
    "sinh": (relax.op.sinh(_SMALL), np.sinh),
    "cosh": (relax.op.cosh(_SMALL), np.cosh),
}


@pytest.mark.parametrize("name", KEEP_NAN)
def test_folds_what_plain_tvm_computes_differently_or_not_at_all(name: str) -> None:
    step, reference = KEEP_NAN[name]
    result = run_pass(FoldConstants(), _module(step))
    assert node_names(result.module) == []
    (folded,) = evaluate(result.module, [np.zeros(1, "float32")])
    np.testing.assert_allclose(folded, reference(_SMALL.value.numpy()), rtol=2e-7)


def test_folds_operators_with_several_outputs() -> None:
    builder = relax.BlockBuilder()
    with builder.function("main", [relax.Var("x", relax.TensorType((2, 1), "float32"))]):
        with builder.dataflow():
            parts = builder.emit(relax.op.split(_SMALL, [1], axis=1), "parts")
            output = builder.emit_output(relax.op.add(builder.emit(relax.TupleGetItem(parts, 0)), relax.const(1.0)))
        builder.emit_func_output(output)
    before = builder.get()
    result = run_pass(FoldConstants(), before)
    assert node_names(result.module) == []
    check_numbers(before, result.module, tolerance=0)


def test_folds_kernels() -> None:
    builder = relax.BlockBuilder()
    with builder.function("main", [relax.Var("x", relax.TensorType((1,), "float32"))]):
        with builder.dataflow():
            clipped = builder.emit_te(topi.clip, _SMALL, -1.0, 1.0)
            output = builder.emit_output(clipped)
        builder.emit_func_output(output)
    before = builder.get()
    result = run_pass(FoldConstants(), before)
    assert node_names(result.module) == []
    check_numbers(before, result.module, tolerance=0)


def test_leaves_what_depends_on_inputs() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                y = R.add(x, W)
                R.output(y)
            return y

    assert check_unchanged(FoldConstants(), Module).declines == ()


def test_refuses_results_that_would_bloat_the_artifact() -> None:
    result = check_unchanged(FoldConstants(max_growth_bytes=1000), _module(relax.op.broadcast_to(_SMALL, (100, 2, 3))))
    assert reasons(result) == {"step0": "its result takes 2400 bytes, 2376 more than its inputs; the limit is 1000"}
