"""FoldBatchNorm: a batch norm behind a convolution moves into its weights.

    batch_norm(conv(x, w) + b)   ->   conv(x, w * s) + (b * s + t)

``batch_norms.py`` says what s and t are; the same holds for transposed convolutions and matmuls, grouped or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm

from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.affine_folding import find_linear_source, fold_affine
from lepton_compiler.passes.canonicalize.batch_norms import normalized_by, scale_and_shift
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Folds batch norms into the weights of the convolution, transposed convolution or matmul before them."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Folds where weights and statistics are constants and nothing else reads the convolution."""
        return rewrite_main(module, _fold)


def _fold(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    norm = normalized_by(graph, node)
    if norm is None:
        return None
    source = find_linear_source(graph, norm.args[0])
    if isinstance(source, str):
        return Decline(node.name, source)
    operator = source.operator
    if int(norm.attrs.axis) % operator.rank != operator.axis:
        return Decline(
            node.name, f"it normalizes axis {norm.attrs.axis}, the channels of {source.name} are axis {operator.axis}"
        )
    parameters = scale_and_shift(norm)
    if isinstance(parameters, str):
        return Decline(node.name, parameters)
    folded = fold_affine(graph, source, *parameters, "batch norm")
    return Decline(node.name, folded) if isinstance(folded, str) else folded
