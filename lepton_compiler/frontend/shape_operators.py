"""ONNX operators on shape values: each takes arrays of numbers and expressions, and gives such an array back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx

from lepton_compiler.frontend import shape_arithmetic
from lepton_compiler.frontend.shape_values import MAX_ELEMENTS, ShapeValue, as_value, of_shape

Known: TypeAlias = "np.ndarray | ShapeValue"
_Attributes: TypeAlias = "dict[str, Any]"


class NotAShape(Exception):
    """The node is no shape arithmetic; it is left to its converter."""


def evaluate(op: str, inputs: Sequence[Any], attributes: _Attributes, outputs: int) -> list[Known] | None:
    """Computes a node on values that are known up to symbols.

    Args:
        op: Operator of the default domain.
        inputs: NumPy arrays, shape values, None for left out ones; for ``Shape`` and ``Size`` also Relax tensors.
        attributes: Attribute values by name.
        outputs: Number of outputs that are wanted.

    Returns:
        The outputs, or None where the node can't be computed now.
    """
    function = _OPERATORS.get(op)
    if function is None or (op not in ("Shape", "Size") and not all(_is_known(value) for value in inputs)):
        return None
    if op not in ("Shape", "Size") and sum(_array(value).size for value in inputs if value is not None) > MAX_ELEMENTS:
        return None
    try:
        results = function(op, list(inputs), attributes, outputs)
    except NotAShape:
        return None
    return results if isinstance(results, list) else [results]


def _is_known(value: Any) -> bool:
    return value is None or isinstance(value, ShapeValue | np.ndarray)


def _array(value: Any) -> np.ndarray:
    if isinstance(value, ShapeValue):
        return value.values
    if not isinstance(value, np.ndarray):
        raise NotAShape
    return value


def _dtype(value: Any) -> str:
    return value.dtype if isinstance(value, ShapeValue) else str(value.dtype)


def _constant(inputs: Sequence[Any], index: int) -> np.ndarray | None:
    """Input ``index`` if it is there; it must be plain numbers."""
    if index >= len(inputs) or inputs[index] is None:
        return None
    if not isinstance(inputs[index], np.ndarray):
        raise NotAShape
    return inputs[index]


def _required(inputs: Sequence[Any], index: int) -> np.ndarray:
    value = _constant(inputs, index)
    if value is None:
        raise NotAShape
    return value


def _elementwise(function: Callable[..., Any], dtype: str, *arrays: np.ndarray) -> Known:
    broadcast = np.broadcast_arrays(*(np.asarray(array, object) for array in arrays))
    result = np.empty(broadcast[0].shape, object)
    for index in np.ndindex(result.shape):
        value = function(*(array[index] for array in broadcast))
        if value is NotImplemented:
            raise NotAShape
        result[index] = value
    return as_value(result, dtype)


def _shape(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    value = inputs[0]
    if isinstance(value, list) or value is None:
        raise NotAShape
    if isinstance(value, np.ndarray | ShapeValue):
        dims: Known | None = np.array(_array(value).shape, np.int64)
    else:
        dims = of_shape(value)
    if dims is None:
        raise NotAShape
    if op == "Size":
        return _reduced(functools.partial(shape_arithmetic.binary, "Mul", dtype="int64"), dims, 1)
    array = _array(dims)[attributes.get("start", 0) : attributes.get("end")]
    return as_value(array, "int64")


def _reduced(function: Callable[[Any, Any], Any], value: Known, initial: Any) -> Known:
    result = functools.reduce(function, _array(value).reshape(-1).tolist(), initial)
    if result is NotImplemented:
        raise NotAShape
    return as_value(_scalar(result), _dtype(value))


def _scalar(value: Any) -> np.ndarray:
    array = np.empty((), object)
    array[()] = value
    return array


def _reduce(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    value = inputs[0]
    array = _array(value)
    axes = _constant(inputs, 1)
    axes = attributes.get("axes") if axes is None else axes.tolist()
    if array.ndim > 1 or (axes is None and attributes.get("noop_with_empty_axes")) or array.size == 0:
        raise NotAShape
    name = {"ReduceProd": "Mul", "ReduceSum": "Add", "ReduceMax": "Max", "ReduceMin": "Min"}[op]
    elements = array.reshape(-1).tolist()
    function = functools.partial(shape_arithmetic.binary, name, dtype=_dtype(value))
    result = as_value(_scalar(functools.reduce(function, elements)), _dtype(value))
    shape = (1,) * array.ndim if attributes.get("keepdims", 1) else ()
    return as_value(_array(result).reshape(shape), _dtype(value))


def _gather(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    indices = _required(inputs, 1)
    return as_value(_array(inputs[0]).take(indices, axis=attributes.get("axis", 0)), _dtype(inputs[0]))


def _slice(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    array = _array(inputs[0])
    if len(inputs) > 1:
        starts, ends = _required(inputs, 1), _required(inputs, 2)
        axes, steps = _constant(inputs, 3), _constant(inputs, 4)
    else:
        starts, ends = np.array(attributes["starts"]), np.array(attributes["ends"])
        axes, steps = attributes.get("axes"), None
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    selection = [slice(None)] * array.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # An end before the first element, counted from the back, is where NumPy would wrap around.
        last = None if step < 0 and end < -array.shape[axis] else int(end)
        selection[int(axis)] = slice(int(start), last, int(step))
    return as_value(array[tuple(selection)], _dtype(inputs[0]))


def _concat(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    arrays = [np.asarray(_array(value), object) for value in inputs]
    return as_value(np.concatenate(arrays, axis=attributes.get("axis", 0)), _dtype(inputs[0]))


def _axes(inputs: list[Any], attributes: _Attributes) -> list[int] | None:
    axes = _constant(inputs, 1)
    return attributes.get("axes") if axes is None else [int(axis) for axis in axes.reshape(-1)]


def _unsqueeze(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    axes = _axes(inputs, attributes)
    if axes is None:
        raise NotAShape
    return as_value(np.expand_dims(_array(inputs[0]), tuple(axes)), _dtype(inputs[0]))


def _squeeze(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    axes = _axes(inputs, attributes)
    return as_value(np.squeeze(_array(inputs[0]), None if axes is None else tuple(axes)), _dtype(inputs[0]))


def _reshape(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    array = _array(inputs[0])
    shape = attributes.get("shape") if len(inputs) == 1 else _required(inputs, 1).tolist()
    if shape is None:
        raise NotAShape
    if not attributes.get("allowzero"):
        shape = [array.shape[i] if dim == 0 else dim for i, dim in enumerate(shape)]
    return as_value(array.reshape(shape), _dtype(inputs[0]))


def _identity(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    return inputs[0]


def _expand(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    array = _array(inputs[0])
    shape = np.broadcast_shapes(array.shape, tuple(_required(inputs, 1).tolist()))
    _check_size(shape)
    return as_value(np.broadcast_to(array, shape), _dtype(inputs[0]))


def _tile(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    array, repeats = _array(inputs[0]), _required(inputs, 1).tolist()
    _check_size([size * n for size, n in zip(array.shape, repeats, strict=True)])
    return as_value(np.tile(array, repeats), _dtype(inputs[0]))


def _check_size(shape: Sequence[int]) -> None:
    if np.prod(shape, dtype=np.int64) > MAX_ELEMENTS:
        raise NotAShape


def _split(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> list[Known]:
    array = _array(inputs[0])
    sizes = _constant(inputs, 1)
    sizes = attributes.get("split") if sizes is None else sizes
    axis = attributes.get("axis", 0)
    if sizes is None:
        parts = attributes.get("num_outputs", outputs)
        each = -(-array.shape[axis] // parts)
        sizes = [each] * (parts - 1)
    points = np.cumsum(sizes)[: outputs - 1]
    return [as_value(part, _dtype(inputs[0])) for part in np.split(array, points, axis=axis)]


def _cast(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    if op == "CastLike":
        to = _dtype(inputs[1])
    else:
        to = str(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))
    if not to.startswith(("int", "uint", "float", "bool")) or to.startswith("float8"):
        raise NotAShape
    return _elementwise(lambda a: shape_arithmetic.cast(a, to), to, _array(inputs[0]))


def _binary(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    if attributes.get("fmod"):
        raise NotAShape
    dtype = _dtype(inputs[0])
    name = "Add" if op == "Sum" else op
    result = inputs[0]
    for other in inputs[1:]:
        result = _elementwise(
            lambda a, b: shape_arithmetic.binary(name, a, b, dtype), dtype, _array(result), _array(other)
        )
    return result


def _unary(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    return _elementwise(lambda a: shape_arithmetic.unary(op, a), _dtype(inputs[0]), _array(inputs[0]))


def _compare(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    return _elementwise(lambda a, b: shape_arithmetic.compare(op, a, b), "bool", *(_array(value) for value in inputs))


def _where(op: str, inputs: list[Any], attributes: _Attributes, outputs: int) -> Known:
    condition = _required(inputs, 0)
    return _elementwise(
        lambda c, a, b: a if c else b, _dtype(inputs[1]), condition, _array(inputs[1]), _array(inputs[2])
    )


_OPERATORS: dict[str, Callable[[str, list[Any], _Attributes, int], Any]] = {
    **dict.fromkeys(("Shape", "Size"), _shape),
    **dict.fromkeys(("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Pow", "Sum"), _binary),
    **dict.fromkeys(("Neg", "Abs", "Floor", "Ceil", "Round"), _unary),
    **dict.fromkeys(("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"), _compare),
    **dict.fromkeys(("Cast", "CastLike"), _cast),
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Identity": _identity,
    "Expand": _expand,
    "Tile": _tile,
    "Split": _split,
    "Where": _where,
}
