"""Attention in a graph: recognises both products and the softmax between them, without changing anything.

    w = softmax(matmul(q, k) * scale + mask);  matmul(w, v)

``FuseAttention`` makes one kernel of what is recognised here; ``MergeProducts`` asks where that kernel will read its
operands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.passes.fusion.strided_views import StridedView, scalar_scale, static_shape, strided_view
from lepton_compiler.passes.lowering.attention_kernel import AttentionShape, Strides
from lepton_compiler.passes.main_graph import MainGraph, Node
from lepton_compiler.targets.cpu.register_tile import RegisterTile, tall_tile
from lepton_compiler.targets.spec import TargetSpec


class NotFusedError(Exception):
    """The product is not computed by the attention kernel; the message says why."""


@dataclass(frozen=True)
class AttentionPattern:
    """An attention that one kernel can compute.

    Attributes:
        shape: What the kernel computes.
        tile: The register tile of its products.
        operands: Queries, transposed keys and values as the graph's products read them.
        views: Where the kernel reads each of them.
        mask: What is added to the scores, None where nothing is.
        names: The nodes between the operands and the second product.
    """

    shape: AttentionShape
    tile: RegisterTile
    operands: tuple[relax.Expr, ...]
    views: tuple[StridedView, ...]
    mask: relax.Expr | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Scores:
    """``matmul(query, key) * factor + mask``, and the names of the nodes that compute it."""

    product: relax.Call
    factor: float
    mask: relax.Expr | None
    names: list[str]


def is_second_product(graph: MainGraph, node: Node) -> bool:
    """Whether a node is a product whose left side is a softmax."""
    return node.operator == "relax.matmul" and defining_call(graph, node.args[0], "relax.nn.softmax") is not None


def recognise_attention(graph: MainGraph, node: Node, target: TargetSpec, max_scores: int) -> AttentionPattern:
    """The attention whose second product is ``node``, for which ``is_second_product`` holds.

    Args:
        graph: The graph.
        node: The product.
        target: For the register tile.
        max_scores: Most scores of one tile of query rows.

    Raises:
        NotFusedError: It is not one that the kernel computes.
    """
    softmax = graph.definition(node.args[0])
    if int(softmax.attrs.axis) not in (-1, softmax.ty.ndim - 1):
        raise NotFusedError(f"{node.args[0].name} runs along axis {softmax.attrs.axis}, not along the keys")
    _check_sole_reader(graph, node.args[0])
    scores = _scores(graph, softmax.args[0])
    query, key = scores.product.args
    operands = (query, key, node.args[1])
    for operand in (*operands, *([scores.mask] if scores.mask is not None else [])):
        _check_tensor(operand)
    shape, views = _shape(graph, scores, operands)
    tile = tall_tile(target, shape.queries)
    if tile.rows * shape.keys > max_scores:
        raise NotFusedError(f"the scores of {tile.rows} rows for {shape.keys} keys don't fit the second cache")
    names = (*scores.names, node.args[0].name)
    return AttentionPattern(shape, tile, operands, tuple(views), scores.mask, names)


def defining_call(graph: MainGraph, expr: relax.Expr, operator: str) -> relax.Call | None:
    """The call of ``operator`` that computes ``expr``, None where something else does."""
    value = graph.definition(expr)
    return value if isinstance(value, relax.Call) and operator_name(value) == operator else None


def _scores(graph: MainGraph, expr: relax.Expr) -> _Scores:
    factor, mask, names = 1.0, None, []
    while True:
        call = graph.definition(expr)
        name = operator_name(call) if call is not None else None
        if name is None:
            raise NotFusedError(f"the scores {expr} are no product")
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
            raise NotFusedError(f"{expr.name} between the product and the softmax is neither a scale nor one mask")


def _split_mask(graph: MainGraph, call: relax.Call) -> tuple[relax.Expr, relax.Expr]:
    """The scores and the mask of a sum: the scores are computed by a product, scaled or not."""
    for scores, mask in (call.args, call.args[::-1]):
        source = scores
        while (scaled := scalar_scale(graph.definition(source))) is not None:
            source = scaled[0]
        if defining_call(graph, source, "relax.matmul") is not None:
            return scores, mask
    raise NotFusedError("what the softmax reads is a sum without a product")


def _shape(
    graph: MainGraph, scores: _Scores, operands: tuple[relax.Expr, ...]
) -> tuple[AttentionShape, list[StridedView]]:
    query, key, value = (static_shape(operand) for operand in operands)
    rank = len(query)
    if rank not in (3, 4) or len(key) != rank or len(value) != rank:
        raise NotFusedError(f"its operands have {len(query)}, {len(key)} and {len(value)} axes, not 3 or 4 each")
    if len({shape[:-2] for shape in (query, key, value)}) > 1:
        raise NotFusedError("queries, keys and values differ in their batch or number of heads")
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
        raise NotFusedError(f"the mask of shape {list(shape)} does not fit the scores of shape {list(full)}")
    padded = (1,) * (len(full) - len(shape)) + shape
    memory = np.empty(padded, np.int8)
    strides = tuple(0 if size == 1 else step for size, step in zip(padded, memory.strides, strict=True))
    return _with_heads(0, strides)


def _check_sole_reader(graph: MainGraph, var: relax.Var) -> None:
    if graph.readers(var) > 1:
        raise NotFusedError(f"{var.name} is read by {graph.readers(var)} nodes")


def _check_tensor(operand: relax.Expr) -> None:
    if str(operand.ty.dtype) != "float32":
        raise NotFusedError(f"the element type is {operand.ty.dtype}, not float32")
    shape = static_shape(operand)
    if shape is None:
        raise NotFusedError("the number of tokens or heads is symbolic")
    if 0 in shape:
        raise NotFusedError("an operand is empty")
