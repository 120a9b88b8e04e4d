"""EliminateDeadCode: chains that lead to no output."""

from __future__ import annotations

from pass_checks import check_rewrite, check_unchanged
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.program import Rewrite
from lepton_compiler.passes.canonicalize.eliminate_dead_code import EliminateDeadCode


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            unused = R.exp(x)
            _unused_too = R.add(unused, x)
            y = R.nn.relu(x)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            y = R.nn.relu(x)
            R.output(y)
        return y


def test_drops_a_chain() -> None:
    result = check_rewrite(EliminateDeadCode(), Before, Expected, tolerance=0)
    assert result.rewrites == (
        Rewrite("unused", "no output needs it: dropped"),
        Rewrite("_unused_too", "no output needs it: dropped"),
    )


def test_leaves_living_code_alone() -> None:
    check_unchanged(EliminateDeadCode(), Expected)
