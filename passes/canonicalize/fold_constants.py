"""FoldConstants: what depends on constants alone is computed now.

where(isnan(0.0), -inf, 0.0)   ->   0.0
permute_dims(weights)          ->   weights, transposed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tvm
from tvm import relax

from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import constant
from lepton_compiler.passes.canonicalize.constant_evaluation import (
    evaluate,
    has_constant_inputs,
    input_bytes,
    result_bytes,
)
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Computes operators whose inputs are all constants while compiling."""

    required: ClassVar[bool] = True

    max_growth_bytes: int = 16 << 20
    """Most bytes that one result may be larger than its inputs."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Folds in order, so that chains of constant arithmetic fold to their end."""

        def fold(graph: MainGraph, node: Node) -> Replacement | Decline | None:
            if not isinstance(node.value, relax.Call) or not has_constant_inputs(node.value):
                return None
            return self._fold(module, node)

        return rewrite_main(module, fold)

    def _fold(self, module: tvm.IRModule, node: Node) -> Replacement | Decline:
        size = result_bytes(node.var.ty)
        if size is None:
            return Decline(node.name, f"its inputs are constants, but the type {node.var.ty} is not known exactly")
        growth = size - input_bytes(node.value)
        if growth > self.max_growth_bytes:
            return Decline(
                node.name,
                f"its result takes {size} bytes, {growth} more than its inputs; the limit is {self.max_growth_bytes}",
            )
        try:
            parts = [constant(array) for array in evaluate(module, node.value, node.var.ty)]
        except tvm.error.InternalError as error:
            return Decline(node.name, f"TVM can't compute it while compiling: {_last_line(error)}")
        is_tuple = isinstance(node.var.ty, relax.TupleType)
        return Replacement(relax.Tuple(parts) if is_tuple else parts[0], "computed from constants")


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
