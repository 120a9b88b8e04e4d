"""ConvertDivideToMultiply: a division by a constant becomes a product, which takes a tenth of the time.

    x / c   ->   x * (1 / c)

The reciprocal is rounded once more, so results may differ in the last place. That matters to what jumps, such as
``floor``: a quotient that it reads stays. Reciprocals of powers of two are exact; those outside of the normal numbers
of the element type are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.main_graph import Node, Replacement, rewrite_main
from lepton_compiler.passes.relax_expressions import variables
from lepton_compiler.targets.spec import TargetSpec

_CONVERTED = ("float32", "float64")
"""Narrower types keep too few digits for a second rounding."""
_JUMP_NAMES = (
    "argmax argmin astype ceil equal floor floor_divide floor_mod greater greater_equal less less_equal mod not_equal "
    "round sign topk trunc"
)
_JUMPS = frozenset(f"relax.{name}" for name in _JUMP_NAMES.split())
"""Operators whose result may change by more than their operand does."""


@dataclass(frozen=True)
class ConvertDivideToMultiply(Pass):
    """Writes divisions by constants as products with their reciprocals."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Converts each division whose divisor is a constant."""
        jumps = _read_by_jumps(module)
        return rewrite_main(module, lambda graph, node: _convert(node, jumps))


def _read_by_jumps(module: tvm.IRModule) -> dict[relax.Var, str]:
    """Variables of ``main`` that an operator reads whose result jumps, and the operator."""
    return {
        var: operator.removeprefix("relax.")
        for binding in bindings(module)
        if (operator := operator_name(binding.value)) in _JUMPS
        for var in variables(binding.value)
    }


def _convert(node: Node, jumps: dict[relax.Var, str]) -> Replacement | Decline | None:
    if node.operator != "relax.divide" or array_of(node.args[0]) is not None:
        return None
    divisor = array_of(node.args[1])
    if divisor is None or divisor.dtype.name not in _CONVERTED:
        return None
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        reciprocal = np.reciprocal(divisor.astype(np.float64)).astype(divisor.dtype)
    if not (np.isfinite(reciprocal).all() and (np.abs(reciprocal) >= np.finfo(divisor.dtype).tiny).all()):
        return Decline(node.name, "the reciprocal of its divisor is no normal number")
    if node.var in jumps and not (np.frexp(divisor)[0] == np.copysign(0.5, divisor)).all():
        return Decline(node.name, f"its quotient is read by {jumps[node.var]}, which jumps")
    return Replacement(relax.op.multiply(node.args[0], constant(reciprocal)), "multiplies by the reciprocal")
