from __future__ import annotations

from collections.abc import Mapping, Sequence

from handmade_programs import Body, legalized_module, symbol, tensor
from tvm import relax

from lepton_compiler.build.execution_plan import (
    Allocation,
    ArenaPlace,
    ExecutionPlan,
    InputPlace,
    KernelCall,
    OutputPlace,
    Tensor,
    plan_execution,
)
from lepton_compiler.build.in_place_results import OverwriteVerdict
from lepton_compiler.build.plan_in_place import overwriting_kernels, plan_in_place

N = symbol("n")


def planned(body: Body, *inputs: relax.Var, verdicts: Mapping[str, Sequence[OverwriteVerdict]]) -> ExecutionPlan:
    return plan_in_place(plan_execution(legalized_module(list(inputs), body), {}), verdicts)


def may(operand: int, result: int, reason: str | None = None) -> OverwriteVerdict:
    return OverwriteVerdict(operand, result, reason)


def chain(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    first = bb.emit(relax.op.exp(x), "first")
    second = bb.emit(relax.op.nn.relu(first), "second")
    third = bb.emit(relax.op.abs(second), "third")
    return bb.emit(relax.op.negative(third), "last")


UNARY = {name: [may(0, 1)] for name in ("tir_exp", "relu", "tir_abs", "abs", "tir_negative")}


def test_a_chain_lives_in_one_place() -> None:
    for size in (8, N):
        plan = planned(chain, tensor("x", (size,)), verdicts=UNARY)
        assert [call.tensors[1].place for call in plan.calls] == [*[ArenaPlace(0)] * 3, OutputPlace(0)]
        (allocation,) = plan.allocations
        assert (allocation.first, allocation.last) == (0, 3)
        assert [call.in_place for call in plan.calls] == [
            "",
            "over the result of first",
            "over the result of second",
            "",
        ]
        assert [call.overwritten for call in plan.calls] == [(), (0,), (0,), ()]


def test_inputs_and_outputs_are_left_alone() -> None:
    plan = planned(chain, tensor("x", (8,)), verdicts=UNARY)
    assert plan.calls[0].tensors[0].place == InputPlace(0)
    assert plan.calls[-1].tensors[1].place == OutputPlace(0)


def test_a_refusal_is_noted_where_it_mattered() -> None:
    plan = planned(chain, tensor("x", (8,)), verdicts={"relu": [may(0, 1, "it is blue")]})
    assert plan.calls[1].in_place == "not over the result of first: it is blue"
    assert len(plan.allocations) == 3
    assert overwriting_kernels(plan) == set()


def test_what_is_read_later_is_kept() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        first = bb.emit(relax.op.exp(x), "first")
        second = bb.emit(relax.op.nn.relu(first), "second")
        return bb.emit(relax.op.add(second, first), "sum")

    plan = planned(body, tensor("x", (8,)), verdicts=UNARY)
    assert len(plan.allocations) == 2
    assert plan.calls[1].in_place == ""


def test_a_view_keeps_its_tensor_too() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        first = bb.emit(relax.op.exp(x), "first")
        flat = bb.emit(relax.op.reshape(first, (8,)), "flat")
        second = bb.emit(relax.op.nn.relu(first), "second")
        return bb.emit(relax.op.add(bb.emit(relax.op.reshape(second, (8,)), "flat2"), flat), "sum")

    plan = planned(body, tensor("x", (2, 4)), verdicts=UNARY)
    assert len(plan.allocations) == 2


def test_other_sizes_do_not_fit() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        first = bb.emit(relax.op.exp(x), "first")
        wide = bb.emit(relax.op.add(first, y), "wide")
        return bb.emit(relax.op.exp(wide), "last")

    plan = planned(body, tensor("x", (1, 8)), tensor("y", (4, 8)), verdicts={"add": [may(0, 2), may(1, 2)]})
    assert len(plan.allocations) == 2


def test_what_a_kernel_is_given_twice_is_kept() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        first = bb.emit(relax.op.exp(x), "first")
        double = bb.emit(relax.op.add(first, first), "double")
        return bb.emit(relax.op.exp(double), "last")

    plan = planned(body, tensor("x", (8,)), verdicts={"add": [may(0, 2), may(1, 2)]})
    assert plan.calls[1].in_place == "not over the result of first: the kernel is given it twice"
    assert len(plan.allocations) == 2


def test_one_operand_makes_room_for_one_result() -> None:
    first, second, third, fourth = (Tensor("float32", (8,), ArenaPlace(index)) for index in range(4))
    given = Tensor("float32", (8,), InputPlace(0))
    calls = (
        KernelCall("make", "make", (given, first)),
        KernelCall("two", "two", (first, second, third)),
        KernelCall("end", "end", (second, third, fourth)),
    )
    lives = ((0, 1), (1, 2), (1, 2), (2, 2))
    plan = ExecutionPlan((), (given,), (), (), calls, tuple(Allocation(32, *life) for life in lives))
    shared = plan_in_place(plan, {"two": [may(0, 1), may(0, 2)]})
    assert [tensor.place.index for tensor in shared.calls[1].tensors] == [0, 0, 1]
    assert shared.allocations == (Allocation(32, 0, 2), Allocation(32, 1, 2), Allocation(32, 2, 2))


def test_a_result_of_the_same_call_is_no_operand() -> None:
    given, first, second = (Tensor("float32", (8,), place) for place in (InputPlace(0), ArenaPlace(0), ArenaPlace(1)))
    calls = (KernelCall("two", "two", (given, first, second)), KernelCall("end", "end", (second, given)))
    plan = ExecutionPlan((), (given,), (), (), calls, (Allocation(32, 0, 0), Allocation(32, 0, 1)))
    shared = plan_in_place(plan, {"two": [may(1, 2), may(1, 2, "it is blue")]})
    assert shared == plan


def test_operands_may_be_chosen_among() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        first, second = bb.emit(relax.op.exp(x), "first"), bb.emit(relax.op.exp(y), "second")
        total = bb.emit(relax.op.add(first, second), "sum")
        return bb.emit(relax.op.exp(total), "last")

    plan = planned(body, tensor("x", (8,)), tensor("y", (8,)), verdicts={"add": [may(0, 2, "it is blue"), may(1, 2)]})
    assert plan.calls[2].in_place == "over the result of second"
    assert plan.calls[2].overwritten == (1,)
    assert overwriting_kernels(plan) == {"add"}
