"""TVM's tensor expressions with types: ``te.compute`` gives a tensor or a tuple of tensors, here it is always one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te


def te_compute(shape: Sequence[Any], element: Callable[..., Any], name: str = "compute", tag: str = "") -> te.Tensor:
    """A tensor of ``shape`` whose elements ``element`` computes from their indices."""
    result = te.compute(shape, element, name=name, tag=tag)
    if not isinstance(result, te.Tensor):
        raise TypeError(f"{name} computes several tensors at once")
    return result
