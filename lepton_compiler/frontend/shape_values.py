"""Integers that follow from the sizes of the inputs, computed while importing.

Exported models carry chains such as ``Shape -> Gather -> Mul -> Concat -> Reshape``. Their values are known up to the
symbols of the input shapes, so they are computed here, as NumPy arrays of TVM expressions, and never become kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from lepton_compiler.core.tensor_expressions import te_compute

MAX_ELEMENTS = 4096
"""Larger integer tensors are data, not shapes."""


@dataclass(frozen=True)
class ShapeValue:
    """A tensor of expressions in the symbols of the input shapes.

    Attributes:
        values: Object array; each element a Python number, an integer ``PrimExpr`` or a ``Ratio``.
        dtype: NumPy name of the element type that the ONNX tensor has.
    """

    values: np.ndarray
    dtype: str


@dataclass(frozen=True)
class Ratio:
    """``numerator / denominator`` of a floating-point shape computation, kept exact.

    ``Floor(Shape * 0.5)`` becomes ``n // 2`` this way.
    """

    numerator: Any
    denominator: int


def simplify(value: Any) -> Any:
    """An expression in its simplest form: a Python number where it is constant."""
    if not tvm.ir.is_prim_expr(value):
        return value
    value = analyzer_for(value).simplify(value)
    return int(value.value) if isinstance(value, tirx.IntImm) else value


def analyzer_for(*expressions: Any) -> tvm.sym.Analyzer:
    """An analyzer that knows that the symbols of ``expressions`` are sizes, and so at least 1."""
    analyzer = tvm.sym.Analyzer()
    for symbol in symbols_of(*expressions):
        analyzer.bind(symbol, tvm.ir.Range.from_min_extent(*_SIZES))
    return analyzer


# 64-bit, because TVM computes the end of a range in the type of its start.
_SIZES = (tirx.IntImm("int64", 1), tirx.IntImm("int64", (1 << 31) - 1))


def symbols_of(*expressions: Any) -> list[tirx.Var]:
    """The symbols that occur in ``expressions``, each once, in order of occurrence."""
    found: list[tirx.Var] = []
    for expression in expressions:
        if tvm.ir.is_prim_expr(expression):
            for symbol in tirx.analysis.undefined_vars(expression):
                if not any(symbol.same_as(other) for other in found):
                    found.append(symbol)
    return found


def same_size(a: Any, b: Any) -> bool:
    """Whether two sizes are equal for all values of their symbols."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    return bool(analyzer_for(a, b).can_prove_equal(a, b))


def as_value(values: Any, dtype: str) -> np.ndarray | ShapeValue:
    """Simplifies every element; an array of plain numbers becomes an ordinary array of ``dtype``.

    A single element stands for an array without dimensions: NumPy unpacks those of object arrays on its own.
    """
    if not isinstance(values, np.ndarray):
        element, values = values, np.empty((), object)
        values[()] = element
    simplified = np.empty(values.shape, object)
    for index in np.ndindex(values.shape):
        simplified[index] = simplify(values[index])
    if all(isinstance(value, bool | int | float | np.generic) for value in simplified.flat):
        return simplified.astype(np.dtype(dtype))
    return ShapeValue(simplified, dtype)


def of_shape(expr: relax.Expr) -> np.ndarray | ShapeValue | None:
    """The result of ONNX ``Shape`` on a runtime tensor; None where Relax doesn't know it."""
    shape = expr.ty.shape
    if shape is None:
        return None
    values = np.empty(len(shape.values), object)
    for axis, dim in enumerate(shape.values):
        values[axis] = dim
    return as_value(values, "int64")


def materialize(builder: relax.BlockBuilder, value: ShapeValue) -> relax.Expr:
    """A call that writes ``value`` into a tensor when the model runs, for operators that use it as data."""
    elements = [_as_expression(element, value.dtype) for element in value.values.reshape(-1)]
    shape = value.values.shape

    # The expressions are arguments, so that TVM replaces their symbols by the kernel's own parameters.
    def compute(*elements: tirx.Expr) -> te.Tensor:
        def element_at(*index: tirx.Var) -> tirx.Expr:
            position = _flat_index(index, shape)
            result = elements[-1]
            for i in range(len(elements) - 2, -1, -1):
                result = tirx.Select(position == i, elements[i], result)
            return result

        return te_compute(shape, element_at, name="shape_value")

    return builder.call_te(compute, *elements, primfunc_name_hint="shape_value")


def _as_expression(element: Any, dtype: str) -> tirx.Expr:
    if isinstance(element, Ratio):
        return tirx.Cast(dtype, element.numerator) / tirx.const(element.denominator, dtype)
    if tvm.ir.is_prim_expr(element):
        return element if str(element.ty) == dtype else tirx.Cast(dtype, element)
    return tirx.const(element, dtype)


def _flat_index(index: tuple[tirx.Var, ...], shape: tuple[int, ...]) -> Any:
    position: Any = 0
    for axis, size in zip(index, shape, strict=True):
        position = position * size + axis
    return position
