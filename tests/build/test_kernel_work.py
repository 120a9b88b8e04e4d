"""Operations and bytes of kernels, counted by hand beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from handmade_programs import legalized_module, symbol, tensor
from tvm import relax, te, tirx
from tvm.script import tirx as T

from lepton_compiler.build.dim_expressions import evaluate, to_text
from lepton_compiler.build.kernel_work import CallWork, count_work, kernel_work


def _work(*tensors: te.Tensor, shapes: Sequence[Sequence[int]] | None = None) -> CallWork:
    """The work of a kernel with fixed shapes, or of its call with these."""
    given = shapes if shapes is not None else [[int(dim) for dim in tensor.shape] for tensor in tensors]
    return kernel_work(te.create_prim_func(list(tensors))).of_call(given)


def _product(a: te.Tensor, b: te.Tensor, dtype: str = "float32") -> Any:
    inner = te.reduce_axis((0, a.shape[1]), "inner")
    return te.compute(
        (a.shape[0], b.shape[1]),
        lambda i, j: te.sum(a[i, inner].astype(dtype) * b[inner, j].astype(dtype), axis=inner),
        name="product",
    )


def test_a_multiply_add_is_two_operations() -> None:
    a, b = te.placeholder((3, 5), name="a"), te.placeholder((5, 7), name="b")
    assert _work(a, b, _product(a, b)) == CallWork(2 * 3 * 5 * 7, 4 * (15 + 35 + 21), "float32")


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "uint8"])
def test_operands_give_the_type(dtype: str) -> None:
    a, b = te.placeholder((3, 5), dtype, name="a"), te.placeholder((5, 7), dtype, name="b")
    result = _product(a, b, "int32" if "int" in dtype else "float32")
    assert _work(a, b, result).operand_type == dtype


def test_an_elementwise_stage_is_one_operation_an_element() -> None:
    a = te.placeholder((3, 5), name="a")
    sigmoid = te.compute((3, 5), lambda i, j: 1 / (1 + te.exp(-a[i, j])), name="sigmoid")
    doubled = te.compute((3, 5), lambda i, j: sigmoid[i, j] * 2, name="doubled")
    assert _work(a, doubled) == CallWork(2 * 15, 4 * 30, "float32")


def test_moving_elements_is_no_operation() -> None:
    a = te.placeholder((3, 5), name="a")
    padded = te.compute(
        (5, 7),
        lambda i, j: tirx.if_then_else(
            tirx.all(i >= 1, i < 4, j >= 1, j < 6), a[i - 1, j - 1], tirx.const(0, "float32")
        ),
        name="padded",
    )
    assert _work(a, padded) == CallWork(0, 4 * (15 + 35), "float32")


def test_a_choice_by_value_is_one_operation() -> None:
    a = te.placeholder((3, 5), name="a")
    relu = te.compute((3, 5), lambda i, j: tirx.Select(a[i, j] < 0, tirx.const(0, "float32"), a[i, j]), name="relu")
    assert _work(a, relu).flops == 15


def test_results_that_nobody_reads_are_no_work() -> None:
    """Output channels that packing filled up to a whole vector are computed, and dropped."""
    a, b = te.placeholder((3, 5), name="a"), te.placeholder((5, 16), name="b")
    product = _product(a, b)
    kept = te.compute((3, 7), lambda i, j: product[i, j], name="kept")
    assert _work(a, b, kept).flops == 2 * 3 * 5 * 7


def test_a_gather_moves_what_it_reads() -> None:
    table, rows = te.placeholder((1000, 8), name="table"), te.placeholder((3,), "int64", name="rows")
    gathered = te.compute((3, 8), lambda i, j: table[rows[i], j], name="gathered")
    # The row numbers are read again for each element, and counted once.
    assert _work(table, rows, gathered) == CallWork(0, 4 * 24 + 8 * 3 + 4 * 24, "float32")


def test_symbols_of_the_kernel_become_those_of_the_model() -> None:
    rows, batch = symbol("rows"), symbol("batch")
    a, b = te.placeholder((rows, 5), name="a"), te.placeholder((5, 7), name="b")
    work = kernel_work(te.create_prim_func([a, b, _product(a, b)])).of_call([(batch * 2, 5), (5, 7), (batch * 2, 7)])
    assert to_text(work.flops) == "batch * 140"
    assert to_text(work.moved_bytes) == "batch * 96 + 140"


def test_sizes_are_compared_whatever_the_order_of_their_factors() -> None:
    rows, columns = symbol("rows"), symbol("columns")
    a = te.placeholder((rows, columns, 4), name="a")
    inner = te.reduce_axis((0, 4), "inner")
    sums = te.compute((columns, rows), lambda j, i: te.sum(a[i, j, inner], axis=inner), name="sums")
    kept = te.compute((rows, columns), lambda i, j: sums[j, i], name="kept")
    work = kernel_work(te.create_prim_func([a, kept])).of_call([(rows, columns, 4), (rows, columns)])
    assert "min" not in to_text(work.flops) + to_text(work.moved_bytes)
    sizes = {rows: 5, columns: 7}
    assert evaluate(work.flops, sizes) == 5 * 7 * 4
    assert evaluate(work.moved_bytes, sizes) == 4 * (5 * 7 * 4 + 5 * 7)


def test_what_is_not_known_before_the_run_is_a_minimum() -> None:
    rows, columns = symbol("rows"), symbol("columns")
    table, picked = te.placeholder((rows, 8), name="table"), te.placeholder((columns,), "int64", name="picked")
    gathered = te.compute((columns, 8), lambda i, j: table[picked[i], j], name="gathered")
    work = kernel_work(te.create_prim_func([table, picked, gathered])).of_call([(rows, 8), (columns,), (columns, 8)])
    few, many = ({rows: 100, columns: number} for number in (3, 1000))
    assert evaluate(work.moved_bytes, few) == 4 * 8 * 3 + 8 * 3 + 4 * 8 * 3
    assert evaluate(work.moved_bytes, many) == 4 * 8 * 100 + 8 * 1000 + 4 * 8 * 1000


def test_kernels_of_a_model_are_counted_by_name() -> None:
    x = tensor("x", (2, 3, 8, 8))

    def body(builder: relax.BlockBuilder, data: relax.Var) -> relax.Expr:
        return builder.emit(relax.op.nn.relu(builder.emit(relax.op.sum(data, axis=[1]))))

    work = count_work(legalized_module([x], body))
    flops = {name: item.flops for name, item in work.items()}
    assert sorted(flops.values()) == [2 * 64, 2 * 3 * 64]


@T.prim_func(s_tir=True)
def _waits(a: T.Buffer((4,), "int32"), b: T.Buffer((4,), "int32")):
    with T.sblock("root"):
        b[0] = 0
        while b[0] < a[0]:
            b[0] = b[0] + 1


@T.prim_func(s_tir=True)
def _as_far_as_told(a: T.Buffer((4,), "int32"), b: T.Buffer((4,), "int32")):
    with T.sblock("root"):
        for i in range(a[0]):
            b[i] = a[i] * 2 + 1


@T.prim_func(s_tir=True)
def _recurrence(a: T.Buffer((4, 8), "float32"), b: T.Buffer((8,), "float32")):
    with T.sblock("root"):
        for step in range(4):
            for i in range(8):
                b[i] = T.exp(b[i] * T.float32(0.5) + a[step, i])


def test_loops_that_depend_on_values_are_not_counted() -> None:
    shapes = [(4,), (4,)]
    assert kernel_work(_waits).of_call(shapes) == CallWork(None, 32, "int32")
    assert kernel_work(_as_far_as_told).of_call(shapes) == CallWork(None, 32, "int32")


def test_loops_written_by_hand_count_each_operation() -> None:
    assert kernel_work(_recurrence).of_call([(4, 8), (8,)]) == CallWork(3 * 32, 4 * (32 + 8), "float32")
