"""ConvertDivideToMultiply: a function of a tensor divided by a constant multiplies by the reciprocal instead.

    erf(x / c)   ->   erf(x * (1 / c))

The factor is rounded once more than the quotient, by half a unit in the last place. That is lost in a function that is
smooth, but not in one that jumps, such as ``floor``; so it depends on the reader.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec

_SMOOTH = frozenset(f"relax.{name}" for name in ["erf", "sigmoid", "tanh", "nn.gelu", "nn.gelu_tanh", "nn.silu"])
_TYPES = ("float32", "float64")


@dataclass(frozen=True)
class ConvertDivideToMultiply(Pass):
    """Multiplies by the reciprocal where a smooth function reads a tensor divided by a constant, as in GELU."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Looks at each smooth function; the quotient stays where others read it too."""
        return rewrite_main(module, _convert)


def _convert(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    quotient = graph.definition(node.args[0]) if node.operator in _SMOOTH else None
    if quotient is None or operator_name(quotient) != "relax.divide":
        return None
    divided, divisor = quotient.args
    array = array_of(divisor)
    if array is None or str(array.dtype) not in _TYPES:
        return None
    if graph.readers(node.args[0]) > 1:
        return Decline(node.name, f"the quotient {node.args[0].name} is read by {graph.readers(node.args[0])} nodes")
    with np.errstate(divide="ignore", over="ignore"):
        factor = (1.0 / array.astype(np.float64)).astype(array.dtype)
    if not (np.isfinite(factor).all() and (np.abs(factor) >= np.finfo(array.dtype).tiny).all()):
        return Decline(node.name, f"the divisor of {node.args[0].name} has no normal reciprocal")
    product = graph.emit(node.args[0].name, relax.op.multiply(divided, constant(factor)))
    call = relax.Call(node.value.op, [product, *node.args[1:]], node.value.attrs, node.value.ty_args)
    return Replacement(call, f"the division {product.name} before it became a multiplication")
