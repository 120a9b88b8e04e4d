"""TopK, by a stable merge sort of indices along the axis: ``O(n log n)``, one thread a row.

The sort works bottom up (Knuth, "The Art of Computer Programming" 3, section 5.2.4): runs of 1, 2, 4... indices are
merged until one is left; equal elements keep the order of their indices, as ONNX wants it.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, te, tirx, topi
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, ConversionError, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.run_time_checks import require_at_most

_MOST_MERGES = 31


@converter("TopK")
def top_k(conversion: Conversion) -> list[relax.Expr]:
    """The k largest or smallest elements along an axis, in order, and their indices."""
    x = conversion.tensor(0)
    k = conversion.attribute("k") if conversion.opset < 10 else conversion.sizes(1)[0]
    if not isinstance(k, int):
        raise ConversionError("the number of results must be known when the model is compiled")
    axis = conversion.attribute("axis", -1) % rank_of(x)
    require_at_most(conversion, "the number of results", [k], [shape_of(x)[axis]])
    largest = bool(conversion.attribute("largest", 1))
    order = conversion.emit(sorted_indices(conversion, x, axis, largest))
    shape = [k if number == axis else size for number, size in enumerate(shape_of(x))]

    def first_indices(indices: te.Tensor) -> te.Tensor:
        return te_compute(shape, lambda *i: indices(*i), name="top_indices", tag=topi.tag.INJECTIVE)

    def first_values(data: te.Tensor, indices: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            return data(*i[:axis], indices(*i), *i[axis + 1 :])

        return te_compute(shape, element, name="top_values", tag=topi.tag.INJECTIVE)

    indices = conversion.emit_te(first_indices, order, name="top_indices")
    return [conversion.call_te(first_values, x, indices, name="top_values"), indices]


def sorted_indices(conversion: Conversion, x: relax.Expr, axis: int, descending: bool) -> relax.Expr:
    """Indices along ``axis`` (int64, the shape of ``x``) that put it in order; NaN counts as the largest."""

    def compute(data: te.Tensor) -> list[te.Tensor]:
        return merge_sort(data, axis, descending)

    pair = conversion.emit(conversion.call_te(compute, x, name="argsort"))
    return relax.TupleGetItem(pair, 0)


def merge_sort(data: te.Tensor, axis: int, descending: bool) -> list[te.Tensor]:
    """Sorted indices, and the memory that the merges needed besides."""
    size = data.shape[axis]
    inner = math.prod(data.shape[axis + 1 :])
    rows = math.prod(data.shape[:axis]) * inner
    merges = _merges(size)

    def body(source: tirx.Buffer, order: tirx.Buffer, spare: tirx.Buffer) -> Any:
        elements, indices, merged = (T.buffer_proxy(buffer) for buffer in (source, order, spare))
        with IRBuilder() as builder:
            with T.parallel(0, rows) as row:
                start = row // inner * (inner * size) + row % inner
                with T.serial(0, size) as i:
                    indices[start + i * inner] = tirx.Cast("int64", i)
                with T.serial(0, merges) as number:
                    width = tirx.const(1, "int64") << tirx.Cast("int64", number)
                    with T.If(width < size), T.Then():
                        runs = tirx.floordiv(size + width * 2 - 1, width * 2)
                        with T.serial(0, runs) as run:
                            _merge_runs(
                                elements, indices, merged, start, inner, run * width * 2, width, size, descending
                            )
                        with T.serial(0, size) as i:
                            indices[start + i * inner] = merged[start + i * inner]
            return builder.get()

    buffers = [tirx.decl_buffer(data.shape, "int64", name, layout=None) for name in ("order", "spare")]
    return te.extern(
        [data.shape, data.shape],
        [data],
        lambda ins, outs: body(ins[0], outs[0], outs[1]),
        dtype=["int64", "int64"],
        out_buffers=buffers,
        name="merge_sort",
    )


def _merges(size: Any) -> int:
    return max(int(size) - 1, 0).bit_length() if isinstance(size, int | tirx.IntImm) else _MOST_MERGES


def _merge_runs(
    elements: Any, indices: Any, merged: Any, start: Any, inner: Any, low: Any, width: Any, size: Any, descending: bool
) -> None:
    """Merges the sorted runs ``[low, low + width)`` and ``[low + width, low + 2 * width)`` of a row."""
    middle = tirx.min(low + width, tirx.Cast("int64", size))
    high = tirx.min(low + width * 2, tirx.Cast("int64", size))
    left, right = (T.decl_buffer([1], "int64", scope="local") for _ in range(2))
    left, right = T.buffer_proxy(left), T.buffer_proxy(right)
    left[0] = low
    right[0] = middle
    with T.serial(0, high - low) as k:
        place = start + (low + k) * inner
        # The clamped positions keep the comparison inside of the row where one run is used up.
        mine = indices[start + tirx.min(left[0], middle - 1) * inner]
        other = indices[start + tirx.min(right[0], high - 1) * inner]
        comes_first = _precedes(elements[start + other * inner], elements[start + mine * inner], descending)
        take_right = tirx.all(right[0] < high, tirx.any(left[0] >= middle, comes_first))
        with T.If(take_right):
            with T.Then():
                merged[place] = other
                right[0] = right[0] + 1
            with T.Else():
                merged[place] = mine
                left[0] = left[0] + 1


def _precedes(a: tirx.Expr, b: tirx.Expr, descending: bool) -> tirx.Expr:
    """Whether ``a`` comes strictly before ``b``."""
    ordered = a > b if descending else a < b
    if not str(a.ty).startswith(("float", "bfloat")):
        return ordered
    first, second = (a, b) if descending else (b, a)
    return tirx.any(ordered, tirx.all(tirx.isnan(first), tirx.Not(tirx.isnan(second))))
