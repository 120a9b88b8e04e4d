"""FuseAttention: both products of an attention and the softmax between them become one kernel.

    w = softmax(matmul(q, k) * scale + mask)                    q, k and v are read in place,
    permute_dims(matmul(w, v), [0, 2, 1, 3])         ->         attention(q, k, v, mask)
                                                                through their reshapes, transposes and slices

Vaswani et al., "Attention Is All You Need", arXiv:1706.03762, section 3.2. What the kernel does is in
``passes/lowering/attention_kernel.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.lone_operators import OpPattern
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.fusion.attention_pattern import (
    AttentionPattern,
    NotFusedError,
    defining_call,
    is_second_product,
    recognise_attention,
)
from lepton_compiler.passes.fusion.strided_views import static_shape
from lepton_compiler.passes.lowering.attention_kernel import AttentionKnobs, AttentionShape, attention
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, join_names, rewrite_main
from lepton_compiler.targets.spec import TargetSpec

_HEADS_BEHIND_TOKENS = [0, 2, 1, 3]
_ENOUGH_PIECES = 8
"""Pieces that an attention is cut into at least; each packs its head's keys and values."""


@dataclass(frozen=True)
class FuseAttention(Pass):
    """Computes attention block by block of query rows, so that its scores stay in the cache."""

    max_scores: int = 1 << 16
    """Most scores of one tile of query rows, which must fit the core's second cache."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Looks at every product whose left side is a softmax, and at the transpose behind it."""

        def fuse(graph: MainGraph, node: Node) -> Replacement | Decline | None:
            if node.operator == "relax.permute_dims":
                return _undone_transpose(graph, node)
            if not is_second_product(graph, node):
                return None
            try:
                return _fused(graph, node, recognise_attention(graph, node, target, self.max_scores), target)
            except NotFusedError as refused:
                return Decline(node.name, f"attention not fused: {refused}")

        return rewrite_main(module, fuse)


def _fused(graph: MainGraph, node: Node, pattern: AttentionPattern, target: TargetSpec) -> Replacement:
    shape, tile = pattern.shape, pattern.tile
    pieces = -(-_ENOUGH_PIECES // (shape.batch * shape.heads))
    chunks = min(pieces, -(-shape.queries // tile.rows))
    knobs = AttentionKnobs(tile, chunks, target.vector_lanes())
    name = join_names(*pattern.names, node.name)
    bases = [view.base for view in pattern.views] + ([pattern.mask] if pattern.mask is not None else [])
    flat = [_flat(graph, base, name) for base in bases]
    # The kernel brings its schedule along, so nothing can be fused into it.
    result = graph.emit_te(
        name, "attention", lambda *tensors: attention(shape, knobs, *tensors), *flat, pattern=OpPattern.OPAQUE
    )
    what = f"fused into one attention kernel, from its operands to the product behind the softmax ({shape.heads} heads)"
    read = tuple(name for view in pattern.views for name in view.names)
    return Replacement(_in_place(graph, node, shape, result, name), what, (*read, *pattern.names), name)


def _in_place(graph: MainGraph, node: Node, shape: AttentionShape, result: relax.Var, name: str) -> relax.Expr:
    """The kernel's result ``[batch, tokens, heads, dim]`` in the order of the product that it replaces."""
    if node.var.ty.ndim < 4:
        return relax.op.reshape(result, node.var.ty.shape)
    sizes = [shape.batch, shape.queries, shape.heads, shape.value_dim]
    return relax.op.permute_dims(graph.emit(name, relax.op.reshape(result, sizes)), _HEADS_BEHIND_TOKENS)


def _undone_transpose(graph: MainGraph, node: Node) -> Replacement | None:
    """The transpose behind a fused attention, which wrote the result in that order already."""
    first = defining_call(graph, node.args[0], "relax.permute_dims")
    source = defining_call(graph, first.args[0], "relax.reshape") if first is not None else None
    kernel = graph.definition(source.args[0]) if source is not None else None
    if operator_name(kernel) != "relax.call_tir" or not kernel.args[0].name_hint.startswith("attention"):
        return None
    axes = [[int(axis) for axis in call.attrs.axes] for call in (first, node.value)]
    if axes != [_HEADS_BEHIND_TOKENS, _HEADS_BEHIND_TOKENS]:
        return None
    return Replacement(first.args[0], f"written in this order by {node.args[0].name}")


def _flat(graph: MainGraph, base: relax.Expr, name: str) -> relax.Expr:
    array = array_of(base)
    if array is not None:
        return constant(array.reshape(-1))
    elements = int(np.prod(static_shape(base), dtype=np.int64))
    return base if base.ty.ndim == 1 else graph.emit(name, relax.op.reshape(base, [elements]))
