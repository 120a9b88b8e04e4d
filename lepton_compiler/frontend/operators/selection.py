"""NonZero, Compress and NonMaxSuppression, where the model declares how many elements they select.

The selection itself is sequential: one walk over the data that appends what it finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx, topi
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.bounded_indices import inside
from lepton_compiler.frontend.conversion import Conversion, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import run_time_converter
from lepton_compiler.frontend.run_time_checks import raise_unless, require_at_most, require_equal


@run_time_converter("NonZero", inputs=(0,))
def nonzero(conversion: Conversion) -> relax.Expr:
    """Indices of the elements that are not 0, one column each."""
    x = conversion.tensor(0)
    rank, count = conversion.declared_shape()
    require_equal(conversion, "the number of rows of the result", [rank], [rank_of(x)])
    positions = _positions(conversion, x, count)
    sizes = shape_of(x)

    def compute(places: te.Tensor) -> te.Tensor:
        def element(axis: tirx.Var, number: tirx.Var) -> tirx.Expr:
            result = places(number)
            for i in range(rank):
                inner = math.prod(sizes[i + 1 :])
                index = tirx.floormod(tirx.floordiv(places(number), inner), sizes[i])
                result = tirx.Select(axis == i, index, result)
            return result

        return te_compute((rank, count), element, name="nonzero")

    return conversion.call_te(compute, positions, name="nonzero")


@run_time_converter("Compress", inputs=(0, 1))
def compress(conversion: Conversion) -> relax.Expr:
    """The elements, or slices along an axis, whose condition holds."""
    x, condition = conversion.tensor(0), conversion.tensor(1)
    axis = conversion.attribute("axis", None)
    if axis is None:
        x = conversion.emit(relax.op.reshape(x, [math.prod(shape_of(x))]))
        axis = 0
    axis %= rank_of(x)
    shape = conversion.declared_shape()
    sizes = shape_of(x)
    require_equal(conversion, "the shape of the result", [*sizes[:axis], shape[axis], *sizes[axis + 1 :]], shape)
    require_at_most(conversion, "the length of the condition", shape_of(condition), [sizes[axis]])
    places = _positions(conversion, condition, shape[axis])

    def gather(data: te.Tensor, chosen: te.Tensor) -> te.Tensor:
        return te_compute(
            shape,
            lambda *i: data(*i[:axis], inside(chosen(i[axis]), data.shape[axis]), *i[axis + 1 :]),
            name="compress",
            tag=topi.tag.INJECTIVE,
        )

    return conversion.call_te(gather, x, places, name="compress")


def _positions(conversion: Conversion, flags: relax.Expr, count: int) -> relax.Expr:
    """Flat indices (int64) of the elements of ``flags`` that are not 0; a run that has not ``count`` of them fails."""
    size = math.prod(shape_of(flags))
    flat = conversion.emit(relax.op.reshape(flags, [size]))
    dtype = dtype_of(flags)

    def holds(value: tirx.Expr) -> tirx.Expr:
        return value if dtype == "bool" else value != tirx.const(0, dtype)

    def body(source: tirx.Buffer, target: tirx.Buffer, counter: tirx.Buffer) -> Any:
        elements, found, number = (T.buffer_proxy(buffer) for buffer in (source, target, counter))
        with IRBuilder() as builder:
            with T.seq_scope():
                with T.serial(0, count) as i:
                    found[i] = tirx.const(0, "int64")
                number[0] = tirx.const(0, "int64")
                with T.serial(0, size) as i, T.If(holds(elements[i])), T.Then():
                    with T.If(number[0] < count), T.Then():
                        found[number[0]] = tirx.Cast("int64", i)
                    number[0] = number[0] + 1
                raise_unless(number[0] == count, _selects_another_number(count))
            return builder.get()

    return _sequential(conversion, body, [flat], [((count,), "int64"), ((1,), "int64")], "positions")


def _selects_another_number(count: int) -> str:
    return f"the node selects another number of elements than the {count} that the model declares"


def _sequential(
    conversion: Conversion,
    body: Callable[..., tirx.Stmt],
    inputs: Sequence[relax.Expr],
    results: Sequence[tuple[tuple[int, ...], str]],
    name: str,
) -> relax.Expr:
    """The first result of a kernel written statement by statement; the others are its scratch memory."""

    def compute(*tensors: te.Tensor) -> list[te.Tensor]:
        buffers = [
            tirx.decl_buffer(shape, dtype, f"{name}_{i}", layout=None) for i, (shape, dtype) in enumerate(results)
        ]
        return te.extern(
            [shape for shape, _ in results],
            list(tensors),
            lambda ins, outs: body(*ins, *outs),
            dtype=[dtype for _, dtype in results],
            out_buffers=buffers,
            name=name,
        )

    return conversion.emit(relax.TupleGetItem(conversion.emit(conversion.call_te(compute, *inputs, name=name)), 0))


@run_time_converter("NonMaxSuppression", inputs=(0, 1))
def non_max_suppression(conversion: Conversion) -> relax.Expr:
    """Greedy selection: the best box left is taken, and those that overlap it too much are dropped."""
    boxes, scores = conversion.tensor(0), conversion.tensor(1)
    count = conversion.declared_shape()[0]
    batches, classes, number = shape_of(scores)
    require_equal(conversion, "the shape of the boxes", shape_of(boxes), [batches, number, 4])
    centred = bool(conversion.attribute("center_point_box", 0))
    limits = [conversion.tensor(i) if conversion.has(i) else None for i in (2, 3, 4)]
    given = [tensor for tensor in limits if tensor is not None]

    def body(*buffers: tirx.Buffer) -> Any:
        box, score, *rest = (T.buffer_proxy(buffer) for buffer in buffers)
        *extra, chosen, alive, state = rest
        values = iter(extra)
        most, overlap, least = (next(values) if tensor is not None else None for tensor in limits)
        with IRBuilder() as builder:
            with T.seq_scope():
                with T.serial(0, count * 3) as i:
                    chosen[i] = tirx.const(0, "int64")
                state[0] = tirx.const(0, "int64")
                with T.serial(0, batches) as b, T.serial(0, classes) as c:
                    row = (b * classes + c) * number
                    with T.serial(0, number) as n:
                        passes = score[row + n] > least[0] if least is not None else tirx.const(True, "bool")
                        alive[n] = tirx.Cast("int8", passes)
                    state[1] = tirx.Cast("int64", most[0]) if most is not None else tirx.const(0, "int64")
                    with T.serial(0, number):
                        _pick(score, alive, state, row, number)
                        with T.If(tirx.all(state[2] >= 0, state[1] > 0)), T.Then():
                            best = state[2]
                            with T.If(state[0] < count), T.Then():
                                chosen[state[0] * 3] = tirx.Cast("int64", b)
                                chosen[state[0] * 3 + 1] = tirx.Cast("int64", c)
                                chosen[state[0] * 3 + 2] = best
                            state[0] = state[0] + 1
                            state[1] = state[1] - 1
                            alive[best] = tirx.const(0, "int8")
                            threshold = overlap[0] if overlap is not None else tirx.const(0.0, "float32")
                            with T.serial(0, number) as n:
                                first, second = (b * number + best) * 4, (b * number + n) * 4
                                hit = _overlaps(box, first, second, threshold, centred)
                                with T.If(hit), T.Then():
                                    alive[n] = tirx.const(0, "int8")
                raise_unless(state[0] == count, _selects_another_number(count))
            return builder.get()

    shapes = [((count, 3), "int64"), ((number,), "int8"), ((3,), "int64")]
    return _sequential(conversion, body, [boxes, scores, *given], shapes, "non_max_suppression")


def _pick(score: Any, alive: Any, state: Any, row: Any, number: int) -> None:
    """Writes the best box that is left to ``state[2]``, -1 where none is; the first of equals wins."""
    state[2] = tirx.const(-1, "int64")
    with T.serial(0, number) as n, T.If(alive[n] != tirx.const(0, "int8")), T.Then():
        better = score[row + n] > score[row + tirx.max(state[2], tirx.const(0, "int64"))]
        with T.If(tirx.any(state[2] < 0, better)), T.Then():
            state[2] = tirx.Cast("int64", n)


def _overlaps(box: Any, first: Any, second: Any, threshold: Any, centred: bool) -> tirx.Expr:
    """Whether intersection over union of two boxes is above ``threshold``; empty boxes overlap nothing."""
    sides = [_sides(box, first, axis, centred) + _sides(box, second, axis, centred) for axis in (0, 1)]
    zero = tirx.const(0.0, "float32")
    shared = [tirx.max(tirx.min(high, other) - tirx.max(low, base), zero) for low, high, base, other in sides]
    area = [(sides[0][i + 1] - sides[0][i]) * (sides[1][i + 1] - sides[1][i]) for i in (0, 2)]
    intersection = shared[0] * shared[1]
    union = area[0] + area[1] - intersection
    return tirx.all(intersection > zero, area[0] > zero, area[1] > zero, intersection > threshold * union)


def _sides(box: Any, place: Any, axis: int, centred: bool) -> Any:
    a, b = box[place + axis], box[place + axis + 2]
    if centred:
        half = b / tirx.const(2.0, "float32")
        return a - half, a + half
    return tirx.min(a, b), tirx.max(a, b)
