"""Which elementwise stages are inlined into their readers."""

from __future__ import annotations

import pytest
import tvm
from tvm import te, tirx
from tvm.s_tir import Schedule

from lepton_compiler.targets.cpu.block_analysis import root_blocks
from lepton_compiler.targets.cpu.inlining import inline_elementwise

ROWS, COLUMNS = 6, 20


def _bordered(data: te.Tensor):
    """Zeros around the middle columns: a stage with a condition."""

    def value(row: tirx.Var, column: tirx.Var) -> tirx.Expr:
        inside = tirx.all(column >= 1, column < COLUMNS - 1)
        return tirx.if_then_else(inside, data[row, column - 1], tirx.const(0, "float32"))

    return te.compute((ROWS, COLUMNS), value, name="bordered")


def _negated(data: te.Tensor):
    return te.compute((ROWS, COLUMNS), lambda row, column: -data[row, column], name="negated")


def _powers(data: te.Tensor):
    return te.compute((ROWS, COLUMNS), lambda row, column: tirx.exp(data[row, column]), name="powers")


def _stages_left(data: te.Tensor, *results: te.Tensor) -> set[str]:
    function = te.create_prim_func([data, *results])
    sch = Schedule(tvm.IRModule({"main": function}), debug_mask="none")
    inline_elementwise(sch)
    return {info.name for info in root_blocks(sch)}


@pytest.mark.parametrize(("stage", "left"), [(_bordered, set()), (_negated, set()), (_powers, {"powers"})])
def test_a_condition_is_cheap_enough_to_repeat_and_a_function_is_not(stage, left):
    data = te.placeholder((ROWS, COLUMNS), "float32", name="data")
    middle = stage(data)
    twice = te.compute((ROWS, COLUMNS), lambda *index: middle(*index) * 2.0, name="twice")
    more = te.compute((ROWS, COLUMNS), lambda *index: middle(*index) + 1.0, name="more")
    assert _stages_left(data, twice, more) == {"twice", "more"} | left


@pytest.mark.parametrize(("stage", "left"), [(_bordered, {"bordered"}), (_negated, set()), (_powers, set())])
def test_a_reduction_keeps_a_condition_out_of_its_loops(stage, left):
    data = te.placeholder((ROWS, COLUMNS), "float32", name="data")
    middle = stage(data)
    column = te.reduce_axis((0, COLUMNS), "column")
    total = te.compute((ROWS,), lambda row: te.sum(middle[row, column], axis=column), name="total")
    assert _stages_left(data, total) == {"total"} | left
