"""FoldScale: a constant factor behind or before a convolution or matmul moves into its weights.

    (conv(x, w) + b) * s   ->   conv(x, w * s) + b * s        s: one value an output channel
    conv(x * s, w)         ->   conv(x, w * s)                s: one value an input channel
    matmul(x / s, w)       ->   matmul(x, w / s)

A division is folded as a multiplication by the reciprocal, taken in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.affine_folding import find_linear_source, fold_affine
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, per_channel
from lepton_compiler.passes.canonicalize.linear_operators import is_linear, read_linear_operator
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class FoldScale(Pass):
    """Folds constant factors into the weights of the convolution or matmul next to them."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Folds factors behind operators and, where nothing else reads the product, before them."""
        return rewrite_main(module, _fold)


def _fold(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    if is_linear(node.value):
        return _fold_before(graph, node)
    product = _product(node.value)
    return None if product is None else _fold_behind(graph, node, *product)


def _product(value: relax.Expr) -> tuple[relax.Expr, np.ndarray] | None:
    """``(x, s)`` for a multiplication of x by a constant s or a division by its reciprocal, in float64."""
    name = operator_name(value)
    if name == "relax.multiply":
        for x, factor in (value.args, value.args[::-1]):
            array = array_of(factor)
            if array is not None and array_of(x) is None and array.dtype.kind not in "iub":
                return x, array.astype(np.float64)
    if name == "relax.divide":
        array = array_of(value.args[1])
        if array is not None and array.dtype.kind not in "iub" and array.all():
            return value.args[0], 1.0 / array.astype(np.float64)
    return None


def _fold_behind(graph: MainGraph, node: Node, x: relax.Expr, factor: np.ndarray) -> Replacement | Decline | None:
    source = find_linear_source(graph, x)
    if isinstance(source, str):
        # Factors far from any convolution are ordinary arithmetic and not worth a word.
        return Decline(node.name, source) if _near_linear(graph, x) else None
    operator = source.operator
    scale = per_channel(factor, operator.rank, operator.axis, operator.channels)
    if scale is None:
        return Decline(node.name, f"its factor is not one value an output channel of {source.name}")
    folded = fold_affine(graph, source, scale, np.zeros_like(scale), "factor")
    return Decline(node.name, folded) if isinstance(folded, str) else folded


def _near_linear(graph: MainGraph, x: relax.Expr) -> bool:
    value = graph.definition(x)
    if value is not None and operator_name(value) == "relax.add":
        return any(is_linear(graph.definition(arg)) for arg in value.args)
    return is_linear(value)


def _fold_before(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    scaled = node.args[0]
    product = _product(graph.definition(scaled)) if graph.definition(scaled) is not None else None
    if product is None:
        return None
    x, factor = product
    if graph.readers(scaled) > 1:
        return Decline(node.name, f"the product {scaled.name} in front of it is read by {graph.readers(scaled)} nodes")
    operator = read_linear_operator(node.value)
    if isinstance(operator, str):
        return Decline(node.name, f"the factor {scaled.name} can't be folded into it: {operator}")
    if not tvm_ffi.structural_equal(x.ty, scaled.ty):
        return Decline(node.name, f"the factor {scaled.name} broadcasts its input to another shape")
    scale = per_channel(factor, x.ty.ndim, operator.input_axis, operator.input_channels)
    if scale is None:
        return Decline(node.name, f"the factor {scaled.name} is not one value an input channel")
    call = operator.input_scaled(x, scale)
    if call is None:
        return Decline(node.name, f"the weights times {scaled.name} leave the range of {operator.weights.dtype}")
    return Replacement(call, f"factor {scaled.name} folded into the weights of {node.name}", (scaled.name,))
