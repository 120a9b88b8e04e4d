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
from lepton_compiler.passes.fusion.strided_views import StridedView, scalar_scale, static_shape, strided_view
from lepton_compiler.passes.lowering.attention_kernel import AttentionKnobs, AttentionShape, Strides, attention
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, join_names, rewrite_main
from lepton_compiler.targets.cpu.register_tile import tall_tile
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
            if node.operator != "relax.matmul" or _of(graph, node.args[0], "relax.nn.softmax") is None:
                return None
            try:
                return _fused(graph, node, target, self.max_scores)
            except _RefusedError as refused:
                return Decline(node.name, f"attention not fused: {refused}")

        return rewrite_main(module, fuse)


class _RefusedError(Exception):
    """The product is not computed by the attention kernel; the message says why."""


@dataclass(frozen=True)
class _Scores:
    """``matmul(query, key) * factor + mask``, and the names of the nodes that compute it."""

    product: relax.Call
    factor: float
    mask: relax.Expr | None
    names: list[str]


def _fused(graph: MainGraph, node: Node, target: TargetSpec, max_scores: int) -> Replacement:
    softmax = graph.definition(node.args[0])
    if int(softmax.attrs.axis) not in (-1, softmax.ty.ndim - 1):
        raise _RefusedError(f"{node.args[0].name} runs along axis {softmax.attrs.axis}, not along the keys")
    _check_sole_reader(graph, node.args[0])
    scores = _scores(graph, softmax.args[0])
    query, key = scores.product.args
    operands = (query, key, node.args[1])
    for operand in (*operands, *([scores.mask] if scores.mask is not None else [])):
        _check_tensor(operand)
    shape, views = _shape(graph, scores, operands, node)
    tile = tall_tile(target, shape.queries)
    if tile.rows * shape.keys > max_scores:
        raise _RefusedError(f"the scores of {tile.rows} rows for {shape.keys} keys don't fit the second cache")
    pieces = -(-_ENOUGH_PIECES // (shape.batch * shape.heads))
    chunks = min(pieces, -(-shape.queries // tile.rows))
    knobs = AttentionKnobs(tile, chunks, target.vector_lanes())
    name = join_names(*scores.names, node.args[0].name, node.name)
    bases = [view.base for view in views] + ([scores.mask] if scores.mask is not None else [])
    flat = [_flat(graph, base, name) for base in bases]
    # The kernel brings its schedule along, so nothing can be fused into it.
    result = graph.emit_te(
        name, "attention", lambda *tensors: attention(shape, knobs, *tensors), *flat, pattern=OpPattern.OPAQUE
    )
    return _in_place(graph, node, shape, result, name)


def _in_place(graph: MainGraph, node: Node, shape: AttentionShape, result: relax.Var, name: str) -> Replacement:
    """The kernel's result ``[batch, tokens, heads, dim]`` in the order of the product that it replaces."""
    what = f"fused into one kernel with its scores and softmax ({shape.heads} heads)"
    if node.var.ty.ndim < 4:
        return Replacement(relax.op.reshape(result, node.var.ty.shape), what, name)
    sizes = [shape.batch, shape.queries, shape.heads, shape.value_dim]
    view = graph.emit(name, relax.op.reshape(result, sizes))
    return Replacement(relax.op.permute_dims(view, _HEADS_BEHIND_TOKENS), what, name)


def _undone_transpose(graph: MainGraph, node: Node) -> Replacement | None:
    """The transpose behind a fused attention, which wrote the result in that order already."""
    first = _of(graph, node.args[0], "relax.permute_dims")
    source = _of(graph, first.args[0], "relax.reshape") if first is not None else None
    kernel = graph.definition(source.args[0]) if source is not None else None
    if operator_name(kernel) != "relax.call_tir" or not kernel.args[0].name_hint.startswith("attention"):
        return None
    axes = [[int(axis) for axis in call.attrs.axes] for call in (first, node.value)]
    if axes != [_HEADS_BEHIND_TOKENS, _HEADS_BEHIND_TOKENS]:
        return None
    return Replacement(first.args[0], f"written in this order by {node.args[0].name}")


def _scores(graph: MainGraph, expr: relax.Expr) -> _Scores:
    factor, mask, names = 1.0, None, []
    while True:
        call = graph.definition(expr)
        name = operator_name(call) if call is not None else None
        if name is None:
            raise _RefusedError(f"the scores {expr} are no product")
        _check_sole_reader(graph, expr)
        names.insert(0, expr.name)
        scaled = scalar_scale(call)
        if scaled is not None:
            expr, factor = scaled[0], factor * scaled[1]
        elif name == "relax.add" and mask is None and factor == 1.0:
            expr, mask = _split_mask(graph, call)
        elif name == "relax.matmul":
            return _Scores(call, factor, mask, names)
        else:
            raise _RefusedError(f"{expr.name} between the product and the softmax is neither a scale nor one mask")


def _split_mask(graph: MainGraph, call: relax.Call) -> tuple[relax.Expr, relax.Expr]:
    """The scores and the mask of a sum: the scores are computed by a product, scaled or not."""
    for scores, mask in (call.args, call.args[::-1]):
        source = scores
        while (scaled := scalar_scale(graph.definition(source))) is not None:
            source = scaled[0]
        if _of(graph, source, "relax.matmul") is not None:
            return scores, mask
    raise _RefusedError("what the softmax reads is a sum without a product")


def _shape(
    graph: MainGraph, scores: _Scores, operands: tuple[relax.Expr, ...], node: Node
) -> tuple[AttentionShape, list[StridedView]]:
    query, key, value = (static_shape(operand) for operand in operands)
    rank = len(query)
    if rank not in (3, 4) or len(key) != rank or len(value) != rank:
        raise _RefusedError(f"its operands have {len(query)}, {len(key)} and {len(value)} axes, not 3 or 4 each")
    if len({shape[:-2] for shape in (query, key, value)}) > 1:
        raise _RefusedError("queries, keys and values differ in their batch or number of heads")
    views = [strided_view(graph, operand) for operand in operands]
    strides = [_with_heads(view.offset, view.strides) for view in views]
    # The second operand of the first product is transposed: [.., dim, keys].
    turned = strides[1]
    strides[1] = Strides(turned.offset, turned.batch, turned.head, turned.column, turned.row)
    batch, heads = query[0], query[1] if rank == 4 else 1
    queries, dim, keys, value_dim = query[-2], query[-1], key[-1], value[-1]
    if views[2].factor != 1.0:
        views[2] = _as_it_lies(operands[2])
        strides[2] = _with_heads(views[2].offset, views[2].strides)
    row = heads * value_dim
    output = Strides(0, queries * row, value_dim, row, 1)
    factor = scores.factor * views[0].factor * views[1].factor
    mask = None if scores.mask is None else _mask_strides(scores, (*query[:-1], keys))
    return AttentionShape(batch, heads, queries, keys, dim, value_dim, factor, *strides, output, mask), views


def _as_it_lies(operand: relax.Expr) -> StridedView:
    """The operand itself, as it lies in memory."""
    shape = static_shape(operand)
    return StridedView(operand, 0, np.empty(shape, np.int8).strides, 1.0)


def _with_heads(offset: int, strides: tuple[int, ...]) -> Strides:
    batch, *head, row, column = strides
    return Strides(offset, batch, head[0] if head else 0, row, column)


def _mask_strides(scores: _Scores, full: tuple[int, ...]) -> Strides:
    """Strides of the mask, 0 along the axes that it is repeated along."""
    shape = static_shape(scores.mask)
    if len(shape) > len(full) or np.broadcast_shapes(shape, full) != full:
        raise _RefusedError(f"the mask of shape {list(shape)} does not fit the scores of shape {list(full)}")
    padded = (1,) * (len(full) - len(shape)) + shape
    memory = np.empty(padded, np.int8)
    strides = tuple(0 if size == 1 else step for size, step in zip(padded, memory.strides, strict=True))
    return _with_heads(0, strides)


def _check_sole_reader(graph: MainGraph, var: relax.Var) -> None:
    if graph.readers(var) > 1:
        raise _RefusedError(f"{var.name} is read by {graph.readers(var)} nodes")


def _check_tensor(operand: relax.Expr) -> None:
    if str(operand.ty.dtype) != "float32":
        raise _RefusedError(f"the element type is {operand.ty.dtype}, not float32")
    shape = static_shape(operand)
    if shape is None:
        raise _RefusedError("the number of tokens or heads is symbolic")
    if 0 in shape:
        raise _RefusedError("an operand is empty")


def _flat(graph: MainGraph, base: relax.Expr, name: str) -> relax.Expr:
    array = array_of(base)
    if array is not None:
        return constant(array.reshape(-1))
    elements = int(np.prod(static_shape(base), dtype=np.int64))
    return base if base.ty.ndim == 1 else graph.emit(name, relax.op.reshape(base, [elements]))


def _of(graph: MainGraph, expr: relax.Expr, operator: str) -> relax.Call | None:
    value = graph.definition(expr)
    return value if isinstance(value, relax.Call) and operator_name(value) == operator else None
