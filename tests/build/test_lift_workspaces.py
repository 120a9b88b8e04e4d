# pyright: reportInvalidTypeForm=none
# Buffers in the signatures of TVMScript functions are calls, not types.

import numpy as np
import pytest
import tvm
from tvm import tirx
from tvm.script import tirx as T

from lepton_compiler.build.dim_expressions import evaluate
from lepton_compiler.build.lift_workspaces import lift_workspaces
from lepton_compiler.core.errors import InternalError


@T.prim_func(private=True, s_tir=True)
def padded_sum(x: T.Buffer((8, 8), "float32"), y: T.Buffer((8, 8), "float32")):
    """``padded`` is shared by two nests, ``row`` lives inside the second."""
    with T.sblock("root"):
        padded = T.sblock_alloc_buffer((8, 10), "float32")
        row = T.sblock_alloc_buffer((8, 8), "float32")
        for i, j in T.grid(8, 10):
            with T.sblock("pad"):
                vi, vj = T.axis.remap("SS", [i, j])
                padded[vi, vj] = T.if_then_else(vj >= 1 and vj < 9, x[vi, vj - 1], T.float32(0))
        for i in range(8):
            for j in range(8):
                with T.sblock("add"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    row[vi, vj] = padded[vi, vj] + padded[vi, vj + 2]
            for j in range(8):
                with T.sblock("store"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    y[vi, vj] = row[vi, vj]


@T.prim_func(private=True, s_tir=True)
def symbolic(a: T.handle, b: T.handle, extra: T.int64):
    n, m = T.int64(), T.int64()
    x = T.match_buffer(a, (n, m), "float32")
    y = T.match_buffer(b, (n, m + extra), "float32")
    with T.sblock("root"):
        wide = T.sblock_alloc_buffer((n, m + extra), "float16")
        for i, j in T.grid(n, m + extra):
            with T.sblock("widen"):
                vi, vj = T.axis.remap("SS", [i, j])
                wide[vi, vj] = T.Cast("float16", T.if_then_else(vj < m, x[vi, vj], T.float32(0)))
        for i, j in T.grid(n, m + extra):
            with T.sblock("narrow"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = T.Cast("float32", wide[vi, vj])


@T.prim_func(private=True, s_tir=True)
def one_nest(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    with T.sblock("root"):
        both = T.sblock_alloc_buffer((8,), "float32")
        for i in range(8):
            with T.sblock("write"):
                vi = T.axis.spatial(8, i)
                both[vi] = x[vi]
            with T.sblock("read"):
                vi = T.axis.spatial(8, i)
                y[vi] = both[vi]


def names(parameters: list[tirx.Var]) -> list[str]:
    return [parameter.name for parameter in parameters]


def test_buffer_shared_by_two_nests_becomes_a_parameter() -> None:
    lifted, workspaces = lift_workspaces(padded_sum)
    assert names(lifted.params) == ["x", "y", "padded"]
    assert [(workspace.dtype, workspace.shape) for workspace in workspaces] == [("float32", (8, 10))]
    assert [buffer.name for buffer in lifted.body.block.alloc_buffers] == ["row"]


def test_input_function_is_left_as_it_was() -> None:
    before = padded_sum.script()
    lift_workspaces(padded_sum)
    assert padded_sum.script() == before


def test_lifted_function_computes_the_same() -> None:

    lifted, _ = lift_workspaces(padded_sum)
    x = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    results = []
    for function, scratch in ((padded_sum, []), (lifted, [np.full((8, 10), np.nan, np.float32)])):
        y = tvm.runtime.tensor(np.zeros((8, 8), np.float32))
        kernel = tvm.tirx.build(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), target="llvm")
        kernel["main"](*map(tvm.runtime.tensor, [x]), y, *map(tvm.runtime.tensor, scratch))
        results.append(y.numpy())
    wide = np.pad(x, ((0, 0), (1, 1)))
    np.testing.assert_array_equal(results[0], wide[:, :-2] + wide[:, 2:])
    np.testing.assert_array_equal(results[1], results[0])


def test_buffer_inside_one_nest_stays() -> None:
    lifted, workspaces = lift_workspaces(one_nest)
    assert workspaces == ()
    assert lifted.same_as(one_nest)


def test_body_written_by_hand_is_left_alone() -> None:
    @T.prim_func(private=True)
    def opaque(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
        scratch = T.alloc_buffer((8,), "float32")
        for i in range(8):
            scratch[i] = x[i]
        for i in range(8):
            y[i] = scratch[i]

    lifted, workspaces = lift_workspaces(opaque)
    assert workspaces == ()
    assert lifted.same_as(opaque)


def test_workspace_comes_last_and_its_shape_is_that_of_the_call() -> None:
    lifted, (workspace,) = lift_workspaces(symbolic)
    assert names(lifted.params)[2:] == ["extra", "wide"]
    assert workspace.dtype == "float16"
    batch = tirx.Var("batch", "int64")
    rows, columns = workspace.shape_at([(batch * 2, 7), (batch * 2, 10), 3], "symbolic")
    assert columns == 10
    assert evaluate(rows, {batch: 5}) == 10


def test_static_call_of_a_symbolic_kernel_gives_numbers() -> None:
    _, (workspace,) = lift_workspaces(symbolic)
    shape = workspace.shape_at([(4, 7), (4, 9), 2], "symbolic")
    assert shape == (4, 9)
    assert all(type(dim) is int for dim in shape)


def test_dimension_that_no_argument_binds_is_an_error() -> None:
    _, (workspace,) = lift_workspaces(symbolic)
    unbound = type(workspace)("float32", (tirx.Var("q", "int64") + 1,), workspace.parameters)
    with pytest.raises(InternalError, match=r"kernel symbolic: a workspace's dimension q .* depends on \['q'\]"):
        unbound.shape_at([(4, 7), (4, 9), 2], "symbolic")
