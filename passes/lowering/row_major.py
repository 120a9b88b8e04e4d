"""Row-major numbers of elements, and back: how flattened axes appear in tensor expressions."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

Size = int | tirx.Expr


def flatten(place: Sequence[tirx.Expr], sizes: Sequence[Size]) -> tirx.Expr:
    """The number of the element at ``place`` of a tensor with these sizes."""
    index: tirx.Expr | None = None
    for position, size in zip(place, sizes, strict=True):
        # Axes of size 1 are left out: TVM would not see through the divisions that they leave behind.
        if not is_one(size):
            index = position if index is None else index * size + position
    return place[-1] if index is None else index


def unflatten(index: tirx.Expr, sizes: Sequence[Size]) -> list[tirx.Expr]:
    """The place of the element with number ``index``."""
    place = []
    left = sum(not is_one(size) for size in sizes)
    for size in reversed(sizes):
        if is_one(size):
            place.append(tirx.IntImm(str(index.ty.dtype), 0))
            continue
        left -= 1
        place.append(index % size if left else index)
        index = index // size
    return place[::-1]


def is_one(size: Size) -> bool:
    """Whether a size is known to be 1."""
    return isinstance(size, int | tirx.IntImm) and int(size) == 1
