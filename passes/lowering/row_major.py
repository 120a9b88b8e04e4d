"""Row-major numbers of elements, and back: how flattened axes appear in tensor expressions."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

Size = int | tirx.Expr


def flatten(place: Sequence[tirx.Expr], sizes: Sequence[Size]) -> tirx.Expr:
    """The number of the element at ``place`` of a tensor with these sizes."""
    index = place[0]
    for position, size in zip(place[1:], sizes[1:], strict=True):
        index = index * size + position
    return index


def unflatten(index: tirx.Expr, sizes: Sequence[Size]) -> list[tirx.Expr]:
    """The place of the element with number ``index``."""
    place = []
    for size in reversed(sizes[1:]):
        place.append(index % size)
        index = index // size
    return [index, *reversed(place)]
