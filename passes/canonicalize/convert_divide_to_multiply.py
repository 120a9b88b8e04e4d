"""ConvertDivideToMultiply: a division by a constant becomes a product, which takes a tenth of the time.

    x / c   ->   x * (1 / c)

The reciprocal is rounded once more, so results may differ in the last place; reciprocals outside of the normal numbers
of the element type are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec

_CONVERTED = ("float32", "float64")
"""Narrower types keep too few digits for a second rounding."""


@dataclass(frozen=True)
class ConvertDivideToMultiply(Pass):
    """Writes divisions by constants as products with their reciprocals."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Converts each division whose divisor is a constant."""
        return rewrite_main(module, _convert)


def _convert(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    if node.operator != "relax.divide" or array_of(node.args[0]) is not None:
        return None
    divisor = array_of(node.args[1])
    if divisor is None or divisor.dtype.name not in _CONVERTED:
        return None
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        reciprocal = np.reciprocal(divisor.astype(np.float64)).astype(divisor.dtype)
    if not (np.isfinite(reciprocal).all() and (np.abs(reciprocal) >= np.finfo(divisor.dtype).tiny).all()):
        return Decline(node.name, "the reciprocal of its divisor is no normal number")
    return Replacement(relax.op.multiply(node.args[0], constant(reciprocal)), "multiplies by the reciprocal")
