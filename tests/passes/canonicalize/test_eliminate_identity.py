"""EliminateIdentity: each operator that gives back its input, and those that only look like it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from pass_checks import check_rewrite, check_unchanged, node_names, reasons, run_pass
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.program import Rewrite
from lepton_compiler.passes.canonicalize.eliminate_identity import EliminateIdentity


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 4), "float32")):
        with R.dataflow():
            same = R.reshape(x, R.shape([2, 4]))
            doubled = R.add(same, x)
            scaled = R.multiply(doubled, R.const(1.0))
            moved = R.permute_dims(scaled, axes=[0, 1])
            R.output(moved)
        return moved


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 4), "float32")):
        with R.dataflow():
            doubled = R.add(x, x)
            R.output(doubled)
        return doubled


def test_skips_identities_at_the_start_and_at_the_output() -> None:
    result = check_rewrite(EliminateIdentity(), Before, Expected, tolerance=0)
    assert node_names(result.module) == ["doubled"]
    assert result.rewrites[0] == Rewrite("same", "reshape gives back its input: skipped")


def _module(make: Callable[[relax.Expr], relax.Expr], shape: tuple = (2, 3, 4), dtype: str = "float32") -> tvm.IRModule:
    """``end = make(negative(x))``."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, dtype))
    with builder.function("main", [x]):
        with builder.dataflow():
            start = builder.emit(relax.op.negative(x), "start")
            end = builder.emit(make(start), "end")
            output = builder.emit_output(end)
        builder.emit_func_output(output)
    return builder.get()


def _constant(value: float, dtype: str = "float32", shape: tuple[int, ...] = ()) -> relax.Expr:
    return relax.const(np.full(shape, value, dtype))


IDENTITIES: dict[str, Callable[[relax.Expr], relax.Expr]] = {
    "astype": lambda x: relax.op.astype(x, "float32"),
    "broadcast_to": lambda x: relax.op.broadcast_to(x, (2, 3, 4)),
    "tile": lambda x: relax.op.tile(x, (1, 1, 1)),
    "concat": lambda x: relax.op.concat([x], axis=0),
    "split": lambda x: relax.op.split(x, 1, axis=0),
    "pad": lambda x: relax.op.nn.pad(x, [0] * 6),
    "strided_slice": lambda x: relax.op.strided_slice(x, [0, 2], [0, 0], [2, 4]),
    "add": lambda x: relax.op.add(x, _constant(-0.0)),
    "subtract": lambda x: relax.op.subtract(x, _constant(0.0, shape=(4,))),
    "multiply": lambda x: relax.op.multiply(_constant(1.0), x),
    "divide": lambda x: relax.op.divide(x, _constant(1.0)),
    "power": lambda x: relax.op.power(x, _constant(1.0)),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_skips(name: str) -> None:
    result = run_pass(EliminateIdentity(), _module(IDENTITIES[name]))
    assert node_names(result.module) == ["start"]
    assert result.rewrites == (Rewrite("end", f"{name} gives back its input: skipped"),)


@pytest.mark.parametrize(
    ("dtype", "through", "exact"),
    [
        ("int32", "int64", True),
        ("int64", "int32", False),
        ("float16", "float32", True),
        ("float32", "float16", False),
        ("bfloat16", "float16", False),
        ("bfloat16", "float32", True),
        ("int32", "float32", False),
        ("uint8", "int16", True),
        ("uint8", "int8", False),
    ],
)
def test_casts_there_and_back(dtype: str, through: str, exact: bool) -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), dtype))
    with builder.function("main", [x]):
        with builder.dataflow():
            there = builder.emit(relax.op.astype(x, through), "there")
            back = builder.emit(relax.op.astype(there, dtype), "back")
            output = builder.emit_output(back)
        builder.emit_func_output(output)
    rewrites = run_pass(EliminateIdentity(), builder.get()).rewrites
    assert [rewrite.node for rewrite in rewrites] == (["back"] if exact else [])


def test_takes_the_tensor_out_of_a_dropout() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((2, 4), "float32")):
            with R.dataflow():
                dropped = R.nn.dropout(x, rate=0.5)
                kept = dropped[0]
                y = R.exp(kept)
                R.output(y)
            return y

    assert node_names(run_pass(EliminateIdentity(), Module).module) == ["y"]


def test_symbolic_shapes_are_compared_as_arithmetic() -> None:
    builder = relax.BlockBuilder()
    n = tvm.tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType([n * 2, 4], "float32"))
    with builder.function("main", [x, relax.Var("s", relax.TensorType([n], "float32"))]):
        with builder.dataflow():
            same = builder.emit(relax.op.reshape(x, [2 * n, 4]), "same")
            output = builder.emit_output(relax.op.exp(same))
        builder.emit_func_output(output)
    assert "same" not in node_names(run_pass(EliminateIdentity(), builder.get()).module)


CHANGING: dict[str, Callable[[relax.Expr], relax.Expr]] = {
    "reversed": lambda x: relax.op.strided_slice(x, [0], [-1], [-3], [-1]),
    "transposed": lambda x: relax.op.permute_dims(x, [0, 2, 1]),
    "reversed_order": lambda x: relax.op.permute_dims(x),
    "reshaped": lambda x: relax.op.reshape(x, (6, 4)),
    "minus_negative_zero": lambda x: relax.op.subtract(x, _constant(-0.0)),
    "one_divided": lambda x: relax.op.divide(_constant(1.0), x),
    "padded": lambda x: relax.op.nn.pad(x, [0, 0, 0, 0, 0, 1]),
}


@pytest.mark.parametrize("name", CHANGING)
def test_leaves_what_changes_something(name: str) -> None:
    check_unchanged(EliminateIdentity(), _module(CHANGING[name]))


def test_adding_positive_zero_is_no_identity_for_negative_zero() -> None:
    result = check_unchanged(EliminateIdentity(), _module(lambda x: relax.op.add(x, _constant(0.0))))
    assert reasons(result) == {"end": "adding +0.0 turns -0.0 into +0.0, and its input may hold -0.0"}


def test_adding_positive_zero_to_a_convolution_is_an_identity() -> None:
    weights, zeros = relax.const(np.ones((2, 3, 1), "float32")), relax.const(np.zeros((1, 2, 1), "float32"))

    @I.ir_module
    class Convolution:
        @R.function
        def main(x: R.Tensor((1, 3, 8), "float32")):
            with R.dataflow():
                conv = R.nn.conv1d(x, weights)
                bias = R.add(conv, zeros)
                R.output(bias)
            return bias

    assert node_names(run_pass(EliminateIdentity(), Convolution).module) == ["conv"]


def test_adding_integer_zero_is_an_identity() -> None:
    module = _module(lambda x: relax.op.add(x, _constant(0, "int32")), dtype="int32")
    assert node_names(run_pass(EliminateIdentity(), module).module) == ["start"]


def test_refuses_to_skip_a_broadcast() -> None:
    module = _module(lambda x: relax.op.multiply(x, _constant(1.0, shape=(5, 1, 1, 1))))
    assert reasons(check_unchanged(EliminateIdentity(), module)) == {
        "end": 'it broadcasts R.Tensor((2, 3, 4), dtype="float32") to R.Tensor((5, 2, 3, 4), dtype="float32")'
    }
