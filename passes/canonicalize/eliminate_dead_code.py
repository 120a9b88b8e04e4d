"""EliminateDeadCode: what no output needs is dropped.

y = relu(x); z = exp(x); return z   ->   z = exp(x); return z
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm

from lepton_compiler.core.contracts import bindings
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Rewrite
from lepton_compiler.passes.main_graph import straighten
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class EliminateDeadCode(Pass):
    """Drops nodes that no output needs."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Drops them all at once, also those that only dead nodes read."""
        lean = straighten(module)
        left = {binding.var.name for binding in bindings(lean)}
        dead = dict.fromkeys(b.var.name for b in bindings(module) if _computes(b) and b.var.name not in left)
        return PassResult(lean, tuple(Rewrite(name, "no output needs it: dropped") for name in dead))


def _computes(binding: tvm.relax.Binding) -> bool:
    return isinstance(binding.value, tvm.relax.Call)
