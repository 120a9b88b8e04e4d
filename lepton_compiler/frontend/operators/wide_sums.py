"""Operators of 16-bit floats that are computed in float32, as every other runtime does, and rounded once at the end.

A sum that is kept in float16 stands still where a term is below a two thousandth of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from lepton_compiler.frontend.conversion import Conversion, Value, dtype_of

NARROW_FLOATS = ("float16", "bfloat16")


def in_float32(convert: Callable[[Conversion], relax.Expr]) -> Callable[[Conversion], relax.Expr]:
    """The converter for all element types, made of one that computes 16-bit floats in their own type.

    Its inputs of 16 bits become float32, constants while importing, and the result gets the type of input 0.
    """

    def widened(conversion: Conversion) -> relax.Expr:
        dtype = conversion.element_type(0)
        if dtype not in NARROW_FLOATS:
            return convert(conversion)
        inputs = {index: _widened(conversion, value) for index, value in enumerate(conversion.inputs)}
        return relax.op.astype(convert(conversion.with_inputs(inputs)), dtype)

    widened.__doc__ = convert.__doc__
    return widened


def _widened(conversion: Conversion, value: Value | None) -> Value | None:
    if isinstance(value, np.ndarray):
        return value.astype(np.float32) if str(value.dtype) in NARROW_FLOATS else value
    if isinstance(value, relax.Expr) and dtype_of(value) in NARROW_FLOATS:
        return conversion.emit(relax.op.astype(value, "float32"))
    return value
