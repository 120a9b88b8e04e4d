from collections.abc import Sequence

import numpy as np
import pytest
import tvm
from handmade_programs import Body, imported_module, legalized_module, symbol, tensor
from tvm import relax

from lepton_compiler.build.dim_expressions import evaluate, to_text
from lepton_compiler.build.execution_plan import (
    Allocation,
    ArenaPlace,
    ConstantPlace,
    ExecutionPlan,
    InputPlace,
    OutputCopy,
    OutputPlace,
    Place,
    Tensor,
    plan_execution,
    size_bytes,
)
from lepton_compiler.build.lift_workspaces import Workspace
from lepton_compiler.core.errors import InternalError

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def planned(inputs: Sequence[relax.Var], body: Body) -> ExecutionPlan:
    return plan_execution(legalized_module(inputs, body), {})


def places(plan: ExecutionPlan) -> list[tuple[str, list[Place]]]:
    """Each call's node and where its tensors lie."""
    return [(call.nodes, [tensor.place for tensor in call.tensors]) for call in plan.calls]


def test_chain_ends_in_the_output() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        product = bb.emit(relax.op.matmul(x, relax.const(WEIGHT)), "product")
        return bb.emit(relax.op.nn.relu(product), "positive")

    plan = planned([tensor("x", (2, 4))], body)
    assert places(plan) == [
        ("product", [InputPlace(0), ConstantPlace(0), ArenaPlace(0)]),
        ("positive", [ArenaPlace(0), OutputPlace(0)]),
    ]
    assert plan.allocations == (Allocation(2 * 3 * 4, 0, 1),)
    assert plan.inputs == (Tensor("float32", (2, 4), InputPlace(0)),)
    assert plan.outputs == (Tensor("float32", (2, 3), OutputPlace(0)),)
    assert plan.copies == ()
    assert plan.symbols == ()


def test_lifetime_ends_with_the_last_reader_and_starts_with_the_writer() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        early = bb.emit(relax.op.exp(x), "early")
        first = bb.emit(relax.op.nn.relu(early), "first")
        second = bb.emit(relax.op.abs(first), "second")
        third = bb.emit(relax.op.negative(second), "third")
        return bb.emit(relax.op.add(third, early), "last")

    plan = planned([tensor("x", (8,))], body)
    assert [(allocation.first, allocation.last) for allocation in plan.allocations] == [(0, 4), (1, 2), (2, 3), (3, 4)]


def test_reshape_is_a_view_that_keeps_its_memory_alive() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        value = bb.emit(relax.op.exp(x), "value")
        flat = bb.emit(relax.op.reshape(value, (6,)), "flat")
        other = bb.emit(relax.op.exp(x), "other")
        shaped = bb.emit(relax.op.reshape(flat, (3, 2)), "shaped")
        late = bb.emit(relax.op.nn.relu(shaped), "late")
        return bb.emit(relax.op.add(late, bb.emit(relax.op.reshape(other, (3, 2)), "o")), "sum")

    plan = planned([tensor("x", (2, 3))], body)
    assert [call.nodes for call in plan.calls] == ["value", "other", "late", "sum"]
    assert plan.calls[2].tensors[0] == Tensor("float32", (3, 2), ArenaPlace(0))
    assert plan.allocations[0] == Allocation(24, 0, 2)


def test_unused_reshape_does_not_prolong_a_life() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        first = bb.emit(relax.op.exp(x), "first")
        second = bb.emit(relax.op.exp(first), "second")
        bb.emit(relax.op.reshape(first, (6,)), "unused")
        return bb.emit(relax.op.exp(second), "third")

    plan = planned([tensor("x", (2, 3))], body)
    assert plan.allocations[0] == Allocation(24, 0, 1)


def test_view_of_an_intermediate_as_output_moves_the_intermediate() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        value = bb.emit(relax.op.exp(x), "value")
        bb.emit(relax.op.nn.relu(value), "also")
        return bb.emit(relax.op.reshape(value, (6,)), "flat")

    plan = planned([tensor("x", (2, 3))], body)
    assert plan.calls[0].tensors[1].place == OutputPlace(0)
    # A later kernel reads it where the caller will.
    assert plan.calls[1].tensors[0] == Tensor("float32", (2, 3), OutputPlace(0))
    assert plan.outputs[0].shape == (6,)
    assert plan.copies == ()


def test_results_of_one_kernel_are_outputs_in_any_order() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        parts = bb.emit(relax.op.split(x, 2, axis=0), "parts")
        second = bb.emit(relax.TupleGetItem(parts, 1), "second")
        first = bb.emit(relax.TupleGetItem(parts, 0), "first")
        return relax.Tuple([second, first])

    plan = planned([tensor("x", (4, 3))], body)
    assert places(plan) == [("parts", [InputPlace(0), OutputPlace(1), OutputPlace(0)])]
    assert plan.allocations == ()


def test_nested_tuples_are_flattened() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        one, two, three = (bb.emit(op(x), op.__name__) for op in (relax.op.exp, relax.op.abs, relax.op.nn.relu))
        return relax.Tuple([one, relax.Tuple([two, three])])

    assert [place for _, (_, place) in places(planned([tensor("x", (2,))], body))] == [
        OutputPlace(0),
        OutputPlace(1),
        OutputPlace(2),
    ]


def test_what_no_kernel_can_write_to_an_output_is_copied() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        value = bb.emit(relax.op.exp(x), "value")
        flat = bb.emit(relax.op.reshape(x, (8,)), "flat")
        return relax.Tuple([x, value, value, relax.const(WEIGHT), flat])

    plan = planned([tensor("x", (2, 4))], body)
    assert places(plan) == [("value", [InputPlace(0), OutputPlace(1)])]
    assert plan.copies == (
        OutputCopy(Tensor("float32", (2, 4), InputPlace(0)), 0),
        OutputCopy(Tensor("float32", (2, 4), OutputPlace(1)), 2),
        OutputCopy(Tensor("float32", (4, 3), ConstantPlace(0)), 3),
        OutputCopy(Tensor("float32", (8,), InputPlace(0)), 4),
    )
    assert [output.place for output in plan.outputs] == [OutputPlace(index) for index in range(5)]


def test_output_that_later_kernels_read_stays_where_it_is() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        hidden = bb.emit(relax.op.exp(x), "hidden")
        return relax.Tuple([hidden, bb.emit(relax.op.nn.relu(hidden), "last")])

    plan = planned([tensor("x", (2,))], body)
    assert places(plan) == [("hidden", [InputPlace(0), OutputPlace(0)]), ("last", [OutputPlace(0), OutputPlace(1)])]


def test_arena_numbers_close_ranks_behind_outputs() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        first = bb.emit(relax.op.exp(x), "first")
        second = bb.emit(relax.op.exp(first), "second")
        third = bb.emit(relax.op.exp(second), "third")
        return relax.Tuple([first, bb.emit(relax.op.exp(third), "fourth")])

    plan = planned([tensor("x", (2,))], body)
    assert [tensor.place for tensor in plan.calls[2].tensors] == [ArenaPlace(0), ArenaPlace(1)]
    assert len(plan.allocations) == 2


def test_scalars_and_empty_tensors_have_sizes() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var, empty: relax.Var) -> relax.Expr:
        total = bb.emit(relax.op.sum(x), "total")
        nothing = bb.emit(relax.op.exp(empty), "nothing")
        return relax.Tuple([bb.emit(relax.op.exp(total), "a"), bb.emit(relax.op.exp(nothing), "b")])

    plan = planned([tensor("x", (2, 3)), tensor("empty", (0, 3))], body)
    assert plan.outputs[0].shape == ()
    assert [allocation.size_bytes for allocation in plan.allocations] == [4, 0]


def test_symbols_come_in_order_of_appearance_and_sizes_are_expressions() -> None:
    n, m = symbol("n"), symbol("m")

    def body(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        both = bb.emit(relax.op.concat([x, y], axis=1), "both")
        flat = bb.emit(relax.op.reshape(both, (n * (m + 4),)), "flat")
        return bb.emit(relax.op.exp(flat), "last")

    plan = planned([tensor("x", (m, n)[::-1]), tensor("y", (n, 4))], body)
    assert [symbol.name for symbol in plan.symbols] == ["n", "m"]
    assert evaluate(plan.allocations[0].size_bytes, {n: 5, m: 3}) == 5 * 7 * 4
    assert [evaluate(dim, {n: 5, m: 3}) for dim in plan.outputs[0].shape] == [35]
    assert to_text(plan.calls[0].tensors[2].shape[1]) == "m + 4"


def test_scalars_stand_where_the_kernel_wants_them() -> None:
    n = symbol("n")

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return bb.emit(relax.op.zeros((n * 2, 3), "float32"), "zeros")

    plan = planned([tensor("x", (n,))], body)
    (call,) = plan.calls
    scalar, result = call.arguments
    assert evaluate(scalar, {n: 21}) == 21
    assert call.tensors == (result,)
    assert result.place == OutputPlace(0)


def test_workspace_lives_for_one_call_in_the_calls_own_symbols() -> None:
    n = symbol("n")

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return bb.emit(relax.op.nn.relu(bb.emit(relax.op.exp(x), "first")), "second")

    module = legalized_module([tensor("x", (n, 3))], body)
    parameters = tuple(module["tir_exp"].params)
    rows = parameters[0].shape[0]
    plan = plan_execution(module, {"tir_exp": (Workspace("float16", (rows * 2, 5), parameters),)})
    workspace = plan.calls[0].tensors[2]
    assert workspace.dtype == "float16"
    assert (to_text(workspace.shape[0]), workspace.shape[1]) == ("n * 2", 5)
    allocation = plan.allocations[workspace.place.index]
    assert (allocation.first, allocation.last) == (0, 0)
    assert evaluate(allocation.size_bytes, {n: 3}) == 3 * 2 * 5 * 2
    assert len(plan.calls[1].tensors) == 2


def test_same_constant_in_two_places_is_named_twice_and_stored_once_later() -> None:
    weight = relax.const(np.ones(3, np.float32))

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return bb.emit(relax.op.multiply(bb.emit(relax.op.add(x, weight), "sum"), weight), "product")

    plan = planned([tensor("x", (3,))], body)
    assert len(plan.constants) == 2


def test_unlowered_operator_is_an_error_that_names_its_node() -> None:
    module = imported_module([tensor("x", (3,))], lambda bb, x: bb.emit(relax.op.nn.relu(x), "act/1"))
    with pytest.raises(InternalError, match=r"node act/1: .*relu"):
        plan_execution(module, {})


def test_unknown_shape_is_an_error_that_names_its_node() -> None:
    x = relax.Var("x", relax.TensorType(dtype="float32", ndim=2))
    module = imported_module([x], lambda bb, x: x)
    with pytest.raises(InternalError, match="node x: no tensor of known shape"):
        plan_execution(module, {})


def test_two_symbols_of_one_name_are_an_error() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        return bb.emit(relax.op.exp(x), "node")

    with pytest.raises(InternalError, match=r"share a name: \['n', 'n'\]"):
        planned([tensor("x", (symbol("n"),)), tensor("y", (symbol("n"),))], body)


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((2, 3), "float32", 24),
        ((2, 3), "bool", 6),
        ((), "float64", 8),
        ((0, 5), "int64", 0),
        ((3,), "bfloat16", 6),
        ((3,), "float8_e4m3fn", 3),
    ],
)
def test_bytes_of_a_tensor(shape: tuple[int, ...], dtype: str, size: int) -> None:
    assert size_bytes(shape, dtype) == size


@pytest.mark.parametrize("dtype", ["int4", "uint4", "float4_e2m1fn"])
def test_elements_below_a_byte_are_refused(dtype: str) -> None:
    with pytest.raises(InternalError, match=dtype):
        size_bytes((2,), dtype)


def test_bytes_of_a_symbolic_tensor_saturate() -> None:
    n = symbol("n")
    size = size_bytes((n, n, 8), "float32")
    assert evaluate(size, {n: 10}) == 3200
    assert evaluate(size, {n: 1 << 40}) == (1 << 63) - 1


def test_module_is_not_changed() -> None:
    module = legalized_module([tensor("x", (3,))], lambda bb, x: bb.emit(relax.op.exp(x), "node"))
    before = module.script()
    plan_execution(module, {})
    assert module.script() == before


def test_cast_to_another_symbol_is_checked_when_the_model_runs() -> None:
    n, m = symbol("n"), symbol("m")

    def body(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        cast = bb.match_cast(bb.emit(relax.op.exp(y), "exp"), relax.TensorType((n, 3), "float32"))
        return bb.emit(relax.op.add(x, cast), "sum")

    plan = planned([tensor("x", (n, 3)), tensor("y", (m, 3))], body)
    (check,) = plan.checks
    assert (check.axis, to_text(check.size), to_text(check.expected)) == (0, "m", "n")
    assert plan.calls[1].tensors[1].place == plan.calls[0].tensors[1].place
    assert to_text(plan.calls[1].tensors[1].shape[0]) == "n"


def test_a_view_of_another_size_is_refused() -> None:
    n = symbol("n")
    x = tensor("x", (n, 1, 5))
    # A type as it would stand where a pass lost 15 of 16 lanes.
    view = relax.Var("view", relax.TensorType((n, 5 * 16), "float32"))
    block = relax.BindingBlock([relax.VarBinding(view, relax.op.reshape(x, (n, 5)))])
    module = tvm.IRModule({"main": relax.Function([x], relax.SeqExpr([block], view), view.ty)})
    with pytest.raises(InternalError, match=r"node view: a reshape of \[n, 1, 5\] to \[n, 80\]"):
        plan_execution(module, {})


def test_a_view_whose_size_the_run_compares_is_accepted() -> None:
    n, m = symbol("n"), symbol("m")

    def body(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        sizes = bb.emit(relax.ShapeExpr([n * 6]), "sizes")
        bb.match_cast(sizes, relax.ShapeType([m * 4]))
        return bb.emit(relax.op.add(y, bb.emit(relax.op.reshape(x, (2, m, 2)), "view")), "sum")

    plan = planned([tensor("x", (n, 2, 3)), tensor("y", (2, m, 2))], body)
    (check,) = plan.checks
    assert (to_text(check.size), to_text(check.expected)) == ("n * 6", "m * 4")
