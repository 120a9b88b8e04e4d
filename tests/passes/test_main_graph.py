"""MainGraph: what every rewrite relies on."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import check_numbers, node_names
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.errors import InternalError
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.passes.main_graph import (
    MainGraph,
    Node,
    Replacement,
    join_names,
    rewrite_main,
    straighten,
)
from lepton_compiler.passes.relax_expressions import same_type

ONES = relax.const(np.ones((2, 3), "float32"))


@I.ir_module
class Outputs:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            a = R.nn.relu(x)
            b = R.exp(a)
            alias = b
            pair = (a, alias, x, ONES, a)
            R.output(pair)
        return pair


def _join_exp(graph: MainGraph, node: Node) -> Replacement | None:
    before = graph.definition(node.args[0]) if node.operator == "relax.exp" else None
    if before is None:
        return None
    return Replacement(relax.op.exp(before.args[0]), "joined", (node.args[0].name,))


def test_nodes_that_were_taken_in_name_the_binding_and_the_record() -> None:
    result = rewrite_main(Outputs, _join_exp)
    assert node_names(result.module) == ["a", "a+b"]
    assert result.rewrites == (Rewrite("a+b", "joined"),)


def _skip_exp(graph: MainGraph, node: Node) -> Replacement | None:
    return Replacement(node.args[0], "skipped") if node.operator == "relax.exp" else None


def test_outputs_may_be_nodes_inputs_and_constants() -> None:
    module = straighten(Outputs)
    assert relax.analysis.check_well_formed(module)
    assert node_names(module) == ["a", "b"]
    assert isinstance(module["main"].body.body, relax.Tuple)
    check_numbers(Outputs, module, tolerance=0)


def test_an_output_that_vanishes_is_replaced_where_it_is_returned() -> None:
    result = rewrite_main(Outputs, _skip_exp)
    assert relax.analysis.check_well_formed(result.module)
    assert node_names(result.module) == ["a"]
    output = result.module["main"].body.body
    assert output.fields[1].same_as(output.fields[0])
    # Only outputs leave the dataflow block; fusion would take any other variable for one.
    assert not isinstance(output.fields[0], relax.DataflowVar)


def test_a_former_output_becomes_an_inner_value() -> None:
    @I.ir_module
    class Chain:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.negative(a)
                R.output(a, b)
            return b

    first = straighten(Chain)["main"].body.blocks[0].bindings[0].var
    assert isinstance(first, relax.DataflowVar)


def test_every_output_may_be_an_input() -> None:
    @I.ir_module
    class Through:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                y = R.exp(x)
                R.output(y)
            return y

    module = rewrite_main(Through, _skip_exp).module
    assert relax.analysis.check_well_formed(module)
    assert len(module["main"].body.blocks) == 0


def test_nothing_rewritten_gives_the_very_same_module() -> None:
    result = rewrite_main(Outputs, lambda graph, node: Decline(node.name, "no"))
    assert result.module.same_as(Outputs)
    assert [decline.node for decline in result.declines] == ["a", "b"]


def test_counts_readers_with_outputs() -> None:
    graph = MainGraph(Outputs)
    nodes = []
    for node in graph.nodes():
        nodes.append(graph.keep(node))
    assert [graph.readers(var) for var in nodes] == [3, 1]
    assert graph.readers(Outputs["main"].params[0]) == 2
    assert graph.readers(ONES) == 0


def test_match_casts_stay_with_their_symbols() -> None:
    builder = relax.BlockBuilder()
    n = tvm.tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType(ndim=1, dtype="float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            cast = builder.match_cast(x, relax.TensorType([n], "float32"))
            output = builder.emit_output(relax.op.exp(relax.op.negative(cast)))
        builder.emit_func_output(output)
    module = straighten(builder.get())
    assert relax.analysis.check_well_formed(module)
    assert isinstance(module["main"].body.blocks[0].bindings[0], relax.MatchCast)


def test_refuses_a_replacement_of_another_type() -> None:
    graph = MainGraph(Outputs)
    node = next(iter(graph.nodes()))
    with pytest.raises(InternalError, match=r"node a is of type .* its replacement of type"):
        graph.replace(node, Replacement(relax.const(1.0), "wrong"))


def test_refuses_control_flow() -> None:
    @I.ir_module
    class Branch:
        @R.function
        def main(x: R.Tensor((2, 3), "float32"), c: R.Tensor((), "bool")) -> R.Tensor((2, 3), "float32"):
            if c:
                y = R.exp(x)
            else:
                y = R.negative(x)
            return y

    with pytest.raises(InternalError, match="control flow inside of main"):
        straighten(Branch)


def test_joined_names_hold_each_part_once() -> None:
    assert join_names("conv1", "conv1", "bn1+relu1", "bn1") == "conv1+bn1+relu1"


def test_types_are_compared_as_arithmetic() -> None:
    n = tvm.tirx.Var("n", "int64")

    def tensor(extent: tvm.ir.Expr, dtype: str = "float32") -> relax.TensorType:
        return relax.TensorType([extent, 4], dtype)

    assert same_type(tensor(n * 2), tensor(n + n))
    assert not same_type(tensor(n * 2), tensor(n))
    assert not same_type(tensor(n), tensor(n, "float16"))


def test_knows_of_readers_that_come_later_through_an_alias_or_a_tuple() -> None:
    @I.ir_module
    class Later:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                a = R.nn.relu(x)
                b = R.exp(a)
                alias = a
                pair = (alias, b)
                R.output(pair)
            return pair

    seen = {}

    def look(graph: MainGraph, node: Node) -> None:
        seen[node.name] = [graph.readers(arg) for arg in node.args]

    rewrite_main(Later, look)
    assert seen == {"a": [1], "b": [2]}
