"""Borders between packed activations and tensors with their channels last, in one transpose of whole vectors.

    transpose(unpack(x))    [n, C/v, h, w, v]  ->  [n, h, w, C/v, v]  =  [n, h, w, C]
    pack(transpose(y))      [n, h, w, C]  =  [n, h, w, C/v, v]  ->  [n, C/v, h, w, v]

Networks that normalize channels or multiply them by matrices, such as ConvNeXt's, cross this border in every block. By
way of ``[n, C, h, w]`` it would take two transposes, one of them of single elements.
"""

from __future__ import annotations

from tvm import relax, tirx

from lepton_compiler.passes.main_graph import MainGraph


def channels_to_the_end(rank: int) -> list[int]:
    """Axes of the transpose ``[n, C, *spatial]`` to ``[n, *spatial, C]``."""
    return [0, *range(2, rank), 1]


def channels_to_the_front(rank: int) -> list[int]:
    """Axes of the transpose ``[n, *spatial, C]`` to ``[n, C, *spatial]``."""
    return [0, rank - 1, *range(1, rank - 1)]


def is_transpose(call: relax.Expr | None, axes: list[int]) -> bool:
    """Whether ``call`` transposes by exactly these axes."""
    if not isinstance(call, relax.Call) or call.op.name != "relax.permute_dims" or call.attrs.axes is None:
        return False
    return [int(axis) % len(axes) for axis in call.attrs.axes] == axes


def unpack_channels_last(graph: MainGraph, name: str, packed: relax.Expr) -> relax.Expr:
    """``[n, *spatial, C]`` of a packed activation that has no partial vector."""
    batch, blocks, *spatial, lanes = packed.ty.shape.values
    rank = len(spatial) + 2
    moved = graph.emit(f"{name}/vectors", relax.op.permute_dims(packed, [*channels_to_the_end(rank), rank]))
    return relax.op.reshape(moved, [batch, *spatial, int(blocks) * int(lanes)])


def pack_channels_last(graph: MainGraph, name: str, transpose: relax.Call, lanes: int) -> relax.Var | None:
    """The packed form of what a transpose to ``[n, C, *spatial]`` gives; None where its channels are last nowhere."""
    source = transpose.args[0]
    batch, *spatial, channels = source.ty.shape.values
    rank = len(spatial) + 2
    if not is_transpose(transpose, channels_to_the_front(rank)):
        return None
    if not isinstance(channels, tirx.IntImm) or int(channels) % lanes:
        return None
    vectors = graph.emit(name, relax.op.reshape(source, [batch, *spatial, int(channels) // lanes, lanes]))
    return graph.emit(name, relax.op.permute_dims(vectors, [*channels_to_the_front(rank), rank]))
