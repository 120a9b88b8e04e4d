"""TVM's tensor expressions with types: what may be one result or several there is always one here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T


def te_compute(
    shape: Sequence[Any],
    element: Callable[..., Any],
    name: str = "compute",
    tag: str = "",
    attrs: Mapping[str, Any] | None = None,
) -> te.Tensor:
    """A tensor of ``shape`` whose elements ``element`` computes from their indices."""
    result = te.compute(shape, element, name=name, tag=tag, attrs=attrs)
    if not isinstance(result, te.Tensor):
        raise TypeError(f"{name} computes several tensors at once")
    return result


def te_sum(value: tirx.Expr, axis: tirx.IterVar | Sequence[tirx.IterVar]) -> tirx.Reduce:
    """The sum of ``value`` over reduction axes."""
    return _one_reduction(te.sum(value, axis=axis))


def te_max(value: tirx.Expr, axis: tirx.IterVar | Sequence[tirx.IterVar]) -> tirx.Reduce:
    """The largest ``value`` over reduction axes."""
    return _one_reduction(te.max(value, axis=axis))


def _one_reduction(result: object) -> tirx.Reduce:
    if not isinstance(result, tirx.Reduce):
        raise TypeError(f"one value over reduction axes was expected, not {type(result).__name__}")
    return result


def te_written(
    name: str, operands: Sequence[te.Tensor], shape: Sequence[Any], dtype: str, write: Callable[..., None]
) -> te.Tensor:
    """A tensor that ``write`` fills statement by statement, through proxies of the operands' buffers and its own."""

    def body(inputs: Sequence[tirx.Buffer], outputs: Sequence[tirx.Buffer]) -> tirx.Stmt:
        with IRBuilder() as builder:
            write(*[T.buffer_proxy(buffer) for buffer in (*inputs, *outputs)])
            statement = builder.get()
        if not isinstance(statement, tirx.Stmt):
            raise TypeError(f"{name} is written as {type(statement).__name__}, which is no statement")
        return statement

    buffer = tirx.decl_buffer(shape, dtype, name, layout=None)
    result = te.extern([shape], list(operands), body, dtype=dtype, out_buffers=[buffer], name=name)
    if not isinstance(result, te.Tensor):
        raise TypeError(f"{name} computes several tensors at once")
    return result
