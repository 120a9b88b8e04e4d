"""What an operator needs of sizes and values: a violation is refused while importing, or else by the run that shows it.

A relation of sizes that nothing proves becomes a cast of a shape, which the executor turns into a comparison before the
first kernel. A condition on values becomes a small kernel of its own, so that the kernel that works with the values
stays free of branches; it must be safe by itself, because the two are not ordered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lepton_compiler.core.abi import VALUE_ERROR
from lepton_compiler.core.lone_operators import OP_PATTERN_ATTRIBUTE, OpPattern
from lepton_compiler.frontend.conversion import Conversion, ConversionError, Size, shape_of
from lepton_compiler.frontend.shape_values import analyzer_for, same_size

# TVM takes a kernel without loops for an elementwise one.
_NEVER_FUSED = {OP_PATTERN_ATTRIBUTE: int(OpPattern.OPAQUE)}


def require_equal(conversion: Conversion, what: str, sizes: Sequence[Size], expected: Sequence[Size]) -> None:
    """Sizes must be equal one by one.

    Args:
        conversion: The node.
        what: What is compared, for the message of a refusal.
        sizes: What the inputs have.
        expected: What the operator needs.

    Raises:
        ConversionError: Some can't be equal for any input.
    """
    if len(sizes) != len(expected):
        raise ConversionError(f"{what}: {_text(sizes)} where {_text(expected)} is needed")
    pairs = [(a, b) for a, b in zip(sizes, expected, strict=True) if not same_size(a, b)]
    for a, b in pairs:
        if analyzer_for(a, b).can_prove(tirx.convert(a) != tirx.convert(b)):
            raise ConversionError(f"{what}: size {a} where {b} is needed")
    _compare(conversion, pairs)


def require_at_most(conversion: Conversion, what: str, sizes: Sequence[Size], limits: Sequence[Size]) -> None:
    """Sizes must not be above their limits.

    Raises:
        ConversionError: Some are for every input.
    """
    pairs = []
    for size, limit in zip(sizes, limits, strict=True):
        size_, limit_ = tirx.convert(size), tirx.convert(limit)
        analyzer = analyzer_for(size, limit)
        if analyzer.can_prove(size_ > limit_):
            raise ConversionError(f"{what}: size {size} where {limit} is the most")
        if not analyzer.can_prove(size_ <= limit_):
            pairs.append((size, tirx.min(_wide(size), _wide(limit))))
    _compare(conversion, pairs)


def require_within(conversion: Conversion, counts: Sequence[Size], sizes: Sequence[Size], axis: int) -> None:
    """An index tensor must not be larger than the tensor whose ``axis`` it addresses, along all the other axes.

    Raises:
        ConversionError: It is, or has another rank.
    """
    if len(counts) != len(sizes):
        raise ConversionError(f"an index tensor of {len(counts)} axes addresses a tensor of {len(sizes)} axes")
    others = [other for other in range(len(sizes)) if other != axis]
    what = "the shape of the indices"
    require_at_most(conversion, what, [counts[other] for other in others], [sizes[other] for other in others])


def require_per_channel(conversion: Conversion, inputs: Iterable[int]) -> None:
    """Inputs must be vectors of one element for each channel of input 0.

    Raises:
        ConversionError: They never are.
    """
    channels = shape_of(conversion.tensor(0))[1:2]
    for index in inputs:
        require_equal(conversion, f"the length of input {index}", shape_of(conversion.tensor(index)), channels)


def _text(sizes: Sequence[Size]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _wide(size: Size) -> tirx.Expr:
    return tirx.IntImm("int64", size) if isinstance(size, int) else size


def _compare(conversion: Conversion, pairs: Sequence[tuple[Size, Size]]) -> None:
    """Emits the comparison of the sizes that only a run knows."""
    if not pairs:
        return
    # A bare symbol in a cast would be taken for its definition.
    expected = [tirx.Mul(b, tirx.IntImm("int64", 1)) if tvm.ir.is_prim_var(b) else _wide(b) for _, b in pairs]
    sizes = conversion.emit(relax.ShapeExpr([_wide(a) for a, _ in pairs]))
    conversion.cast(sizes, relax.ShapeType(expected))


def reshaped(conversion: Conversion, x: relax.Expr, shape: Sequence[Size]) -> relax.Expr:
    """A call that gives a bound tensor another shape, which must have as many elements.

    Raises:
        ConversionError: It never has.
    """
    old = shape_of(x)
    rest, others = list(old), []
    # Sizes that stand on both sides cancel, so that a comparison of products is one of what differs.
    for size in shape:
        match = next((i for i, other in enumerate(rest) if same_size(size, other)), None)
        others.append(size) if match is None else rest.pop(match)
    if rest or others:
        what = f"a shape of {_text(old)} can't become {_text(shape)}"
        require_equal(conversion, what, [math.prod(rest)], [math.prod(others)])
    return relax.op.reshape(x, list(shape))


def require_values(
    conversion: Conversion, message: str, condition: Callable[..., Any], *arguments: relax.Expr | list[Size]
) -> None:
    """A condition on a few elements of tensors, which each run checks.

    Args:
        conversion: The node.
        message: What the run says where the condition does not hold.
        condition: Gives it, from a reader of flat positions for each tensor, and a list for each list of sizes.
        arguments: What the condition depends on.
    """

    def write(result: Any, *given: Any) -> None:
        result[0] = tirx.const(0, "int64")
        raise_unless(condition(*given), message)

    _emit_check(conversion, write, arguments, "check_values")


def require_declared(conversion: Conversion, index: int, wanted: Sequence[Size]) -> None:
    """An input that a run computes must hold what the model's declared shapes say of it, element by element.

    Raises:
        ConversionError: It has another number of elements.
    """
    if isinstance(conversion.inputs[index], np.ndarray):
        given = [int(value) for value in conversion.constant(index).reshape(-1)]
        require_equal(conversion, f"input {index}", given, wanted)
        return
    tensor = conversion.tensor(index)
    require_equal(conversion, f"the length of input {index}", [math.prod(shape_of(tensor))], [len(wanted)])

    def holds(values: Any, sizes: Sequence[Any]) -> Any:
        return all_of(tirx.Cast("int64", values[i]) == size for i, size in enumerate(sizes))

    require_values(conversion, contradicts(index), holds, tensor, list(wanted))


def contradicts(*inputs: int) -> str:
    """What a run says where an input contradicts the shape that the model declares for the node's result."""
    which = f"input {inputs[0]} of the node contradicts"
    if len(inputs) > 1:
        which = f"inputs {' and '.join(map(str, inputs))} of the node contradict"
    return f"{which} the shape that the model declares for its result"


def all_of(conditions: Iterable[Any]) -> Any:
    """Whether all conditions hold; none of them is true."""
    return tirx.all(tirx.const(True, "bool"), *conditions)


def require_indices(conversion: Conversion, index: int, sizes: Sequence[Size]) -> None:
    """Every element of an input must name an element of an axis; negative ones count from the axis' end.

    Args:
        conversion: The node.
        index: The input.
        sizes: The axis' size; several of them where the elements along the input's last axis address one axis each.

    Raises:
        ConversionError: The indices are constants, and one lies outside of its axis for every input.
    """
    value = conversion.inputs[index]
    if isinstance(value, np.ndarray):
        _require_known_indices(conversion, index, value, sizes)
        return
    depth = len(sizes)

    def write(outside: Any, places: Any, limits: Sequence[Any], count: Sequence[Any]) -> None:
        # One number for all elements, so that the loop has no branches.
        outside[0] = tirx.const(0, "int64")
        with T.serial(0, count[0]) as number:
            for k, size in enumerate(limits):
                place = tirx.Cast("int64", places[number * depth + k])
                limit = tirx.Cast("int64", size)
                outside[0] = outside[0] + tirx.Cast("int64", tirx.any(place < -limit, place >= limit))
        raise_unless(outside[0] == 0, _outside(index, sizes))

    tensor = conversion.tensor(index)
    count = math.prod(shape_of(tensor)[:-1] if depth > 1 else shape_of(tensor))
    _emit_check(conversion, write, (tensor, list(sizes), [count]), "check_indices")


def _require_known_indices(conversion: Conversion, index: int, value: np.ndarray, sizes: Sequence[Size]) -> None:
    if not value.size:
        return
    columns = value.reshape(-1, len(sizes))
    for k, size in enumerate(sizes):
        low, high = int(columns[:, k].min()), int(columns[:, k].max())
        if isinstance(size, int) and not -size <= low <= high < size:
            wrong = low if low < -size else high
            raise ConversionError(f"index {wrong} of input {index} lies outside of an axis of {size} elements")
        require_at_most(conversion, f"the indices of input {index}", [max(high + 1, -low)], [size])


def _outside(index: int, sizes: Sequence[Size]) -> str:
    known = f" of {sizes[0]} elements" if len(sizes) == 1 and isinstance(sizes[0], int) else ""
    return f"an index of input {index} of the node lies outside of its axis{known}"


def raise_unless(condition: Any, message: str) -> None:
    """Ends a kernel that is being written statement by statement with an error of the caller's, unless all is well."""
    with T.Assert(condition, message, VALUE_ERROR):
        T.evaluate(0)


def _emit_check(
    conversion: Conversion, write: Callable[..., None], arguments: Sequence[relax.Expr | list[Size]], name: str
) -> None:
    """A kernel that gives nothing but its error; the cast of its result keeps it where nothing reads that."""

    def compute(*given: Any) -> Any:
        def body(inputs: Sequence[tirx.Buffer], outputs: Sequence[tirx.Buffer]) -> tirx.Stmt:
            buffers = iter(inputs)
            values = [T.buffer_proxy(next(buffers)) if isinstance(each, te.Tensor) else each for each in given]
            with IRBuilder() as builder:
                with T.seq_scope():
                    write(T.buffer_proxy(outputs[0]), *values)
                # Without the scope itself, which the code generator does not know.
                return builder.get().body

        result = tirx.decl_buffer((1,), "int64", name, layout=None)
        tensors = [each for each in given if isinstance(each, te.Tensor)]
        return te.extern([(1,)], tensors, body, dtype="int64", out_buffers=[result], name=name)

    wide = [[_wide(size) for size in each] if isinstance(each, list) else each for each in arguments]
    result = conversion.emit(conversion.call_te(compute, *wide, name=name, kernel_attributes=_NEVER_FUSED))
    # Written as a product: TVM drops casts that change nothing.
    one = tirx.Mul(tirx.IntImm("int64", 1), tirx.IntImm("int64", 1))
    conversion.cast(result, relax.TensorType([one], "int64"))
