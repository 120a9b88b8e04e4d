"""EliminateCommonSubexpressions: what was computed already is taken from there.

a = exp(x); b = exp(x)   ->   a = exp(x), read in place of b
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import relax
from tvm.ir import GenericConst

from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """Computes equal expressions once."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Compares every node with the earlier ones of equal operator and inputs."""
        earlier: dict[Hashable, list[tuple[relax.Var, relax.Expr]]] = defaultdict(list)

        def reuse(graph: MainGraph, node: Node) -> Replacement | None:
            candidates = earlier[_key(node.value)]
            for old_var, value in candidates:
                if tvm_ffi.structural_equal(value, node.value):
                    var = graph.current(old_var)
                    return Replacement(var, f"computes the same as {old_var.name}: taken from there")
            candidates.append((node.var, node.value))
            return None

        return rewrite_main(module, reuse)


def _key(expr: relax.Expr) -> Hashable:
    """Equal for equal expressions; cheap, since constants count by shape and dtype only."""
    if isinstance(expr, relax.Var | tvm.ir.GlobalVar | tvm.ir.Op):
        return hash(expr)
    if isinstance(expr, GenericConst):
        return str(expr.ty)
    if isinstance(expr, relax.Call):
        return (_key(expr.op), *map(_key, expr.args))
    if isinstance(expr, relax.Tuple):
        return tuple(map(_key, expr.fields))
    if isinstance(expr, relax.TupleGetItem):
        return (_key(expr.tuple_value), expr.index)
    return str(expr)
