"""Elementwise arithmetic, comparisons, logic and mathematical functions with NumPy's broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, ConversionError, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.activation_functions import scalar
from lepton_compiler.frontend.operators.registry import converter

_UNARY: dict[str, Callable[[relax.Expr], relax.Expr]] = {
    "Abs": relax.op.abs,
    "Acos": relax.op.acos,
    "Acosh": relax.op.acosh,
    "Asin": relax.op.asin,
    "Asinh": relax.op.asinh,
    "Atan": relax.op.atan,
    "Atanh": relax.op.atanh,
    "BitwiseNot": relax.op.bitwise_not,
    "Ceil": relax.op.ceil,
    "Cos": relax.op.cos,
    "Cosh": relax.op.cosh,
    "Erf": relax.op.erf,
    "Exp": relax.op.exp,
    "Floor": relax.op.floor,
    "IsNaN": relax.op.isnan,
    "Log": relax.op.log,
    "Neg": relax.op.negative,
    "Not": relax.op.logical_not,
    "Round": relax.op.round,
    "Sign": relax.op.sign,
    "Sin": relax.op.sin,
    "Sinh": relax.op.sinh,
    "Sqrt": relax.op.sqrt,
    "Tan": relax.op.tan,
    "Tanh": relax.op.tanh,
}
_BINARY: dict[str, Callable[[relax.Expr, relax.Expr], relax.Expr]] = {
    "Add": relax.op.add,
    "And": relax.op.logical_and,
    "BitwiseAnd": relax.op.bitwise_and,
    "BitwiseOr": relax.op.bitwise_or,
    "BitwiseXor": relax.op.bitwise_xor,
    "Equal": relax.op.equal,
    "Greater": relax.op.greater,
    "GreaterOrEqual": relax.op.greater_equal,
    "Less": relax.op.less,
    "LessOrEqual": relax.op.less_equal,
    "Mul": relax.op.multiply,
    "Or": relax.op.logical_or,
    "Sub": relax.op.subtract,
    "Xor": relax.op.logical_xor,
}


@converter(*_UNARY)
def unary(conversion: Conversion) -> relax.Expr:
    """One function of one tensor."""
    return _UNARY[conversion.op](conversion.tensor(0))


@converter(*_BINARY)
def binary(conversion: Conversion) -> relax.Expr:
    """One function of two tensors that broadcast."""
    return _BINARY[conversion.op](*operands(conversion))


def operands(conversion: Conversion) -> tuple[relax.Expr, relax.Expr]:
    """Both inputs; before version 7 the second was aligned by the attributes ``broadcast`` and ``axis``."""
    a, b = conversion.tensor(0), conversion.tensor(1)
    axis = conversion.attribute("axis", None)
    if conversion.opset < 7 and axis is not None:
        missing = rank_of(a) - axis % rank_of(a) - rank_of(b)
        b = conversion.emit(relax.op.reshape(b, [*shape_of(b), *[1] * missing])) if missing > 0 else b
    a, b = conversion.broadcastable(a, b)
    return a, b


@converter("Div")
def divide(conversion: Conversion) -> relax.Expr:
    """``a / b``; integers are divided towards zero.

    Integer division is total, where the processor would stop the program: ``a / 0`` is 0, and the smallest number
    divided by -1 wraps around to itself, as in NumPy.
    """
    a, b = operands(conversion)
    dtype = dtype_of(a)
    if not dtype.startswith(("int", "uint")):
        return relax.op.divide(a, b)
    function = tirx.truncdiv if _never_fails(conversion.inputs[1]) else _total_quotient
    return conversion.call_te(lambda x, y: _broadcast(function, x, y), a, b, name="divide")


@converter("Mod")
def modulo(conversion: Conversion) -> relax.Expr:
    """Remainder with the sign of the divisor, or with ``fmod`` that of the dividend; of integers by 0 it is 0."""
    a, b = operands(conversion)
    by_dividend = bool(conversion.attribute("fmod", 0))
    if dtype_of(a).startswith(("int", "uint")):
        plain = tirx.truncmod if by_dividend else tirx.floormod
        safe = _never_fails(conversion.inputs[1])
        function = plain if safe else lambda x, y: plain(x, _harmless_divisor(x, y))
        return conversion.call_te(lambda x, y: _broadcast(function, x, y), a, b, name="modulo")
    remainder = _c_remainder if by_dividend else _python_remainder
    return conversion.call_te(lambda x, y: _broadcast(remainder, x, y), a, b, name="fmod")


def _never_fails(divisor: Any) -> bool:
    """Whether a known divisor is neither 0 nor -1 anywhere, so that processors can divide every integer by it."""
    return isinstance(divisor, np.ndarray) and bool(((divisor != 0) & (divisor + 1 != 0)).all())


def _harmless_divisor(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    """The divisor, or 1 where the processor can't divide; a choice of values keeps the loop free of branches."""
    dtype = str(a.ty)
    trap = _is_exactly(b, tirx.const(0, dtype))
    if dtype.startswith("int"):
        overflow = tirx.all(_is_exactly(a, tirx.min_value(dtype)), _is_exactly(b, tirx.const(-1, dtype)))
        trap = tirx.any(trap, overflow)
    return tirx.Select(trap, tirx.const(1, dtype), b)


def _is_exactly(value: tirx.Expr, number: tirx.IntImm) -> tirx.Expr:
    """``value == number``, compared bit by bit.

    TVM simplifies plain comparisons away: one with the smallest int32, because the difference overflows, and one with 0
    inside of a choice by ``b == 0``, the model's own or ours, although both sides of a choice are computed.
    """
    dtype = str(value.ty)
    bits = dtype[1:] if dtype.startswith("uint") else f"u{dtype}"
    # TVM takes the reinterpretation of a constant 0 for a null pointer.
    pattern = tirx.const(0, bits) if int(number) == 0 else tirx.reinterpret(bits, number)
    return tirx.EQ(tirx.reinterpret(bits, value), pattern)


def _total_quotient(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    zero = tirx.const(0, str(a.ty))
    dividend = tirx.Select(_is_exactly(b, zero), zero, a)
    return tirx.truncdiv(dividend, _harmless_divisor(a, b))


def _c_remainder(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    """The C library's ``fmod``, which TVM has an operator but no lowering for; narrow types go through float."""
    dtype = str(a.ty)
    if dtype == "float64":
        return tirx.call_pure_extern(dtype, "fmod", a, b)
    result = tirx.call_pure_extern("float32", "fmodf", tirx.Cast("float32", a), tirx.Cast("float32", b))
    return tirx.Cast(dtype, result)


def _python_remainder(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    """The remainder with the sign of the divisor, also where it is zero."""
    rest = _c_remainder(a, b)
    zero = tirx.const(0, str(a.ty))
    opposite = tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))
    signed_zero = tirx.Select(b < zero, tirx.const(-0.0, str(a.ty)), zero)
    return tirx.Select(rest == zero, signed_zero, tirx.Select(opposite, rest + b, rest))


def _broadcast(function: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """A TVM scalar function over two tensors that broadcast."""
    shape = topi.add(x, y).shape
    left, right = topi.broadcast_to(x, shape), topi.broadcast_to(y, shape)
    return te_compute(shape, lambda *i: function(left(*i), right(*i)), name="elementwise")


@converter("Pow")
def power(conversion: Conversion) -> relax.Expr:
    """``a ** b`` in the type of ``a``; small constant exponents become products."""
    a, b = operands(conversion)
    exponent = conversion.inputs[1]
    if isinstance(exponent, np.ndarray) and exponent.size == 1 and rank_of(a) >= exponent.ndim:
        value = float(exponent.reshape(-1)[0])
        if value == 2.0:
            return relax.op.multiply(a, a)
        if value == 3.0:
            return relax.op.multiply(relax.op.multiply(a, a), a)
        if value == 1.0:
            return a
        if value == 0.5 and dtype_of(a).startswith("float"):
            return relax.op.sqrt(a)
    if dtype_of(a) == dtype_of(b) and dtype_of(a).startswith("float"):
        return relax.op.power(a, b)
    if dtype_of(a).startswith("float"):
        return relax.op.power(a, relax.op.astype(b, dtype_of(a)))
    # pow of the C library exists for floating point only; double holds every int32 and most int64 exactly.
    result = relax.op.power(relax.op.astype(a, "float64"), relax.op.astype(b, "float64"))
    return relax.op.astype(result, dtype_of(a))


@converter("Reciprocal")
def reciprocal(conversion: Conversion) -> relax.Expr:
    """``1 / x``."""
    x = conversion.tensor(0)
    return relax.op.divide(scalar(1, x), x)


@converter("IsInf")
def is_infinite(conversion: Conversion) -> relax.Expr:
    """Whether an element is infinite; either sign can be left out."""
    x = conversion.tensor(0)
    positive = relax.op.equal(x, scalar(float("inf"), x))
    negative = relax.op.equal(x, scalar(float("-inf"), x))
    if not conversion.attribute("detect_negative", 1):
        return positive
    return relax.op.logical_or(positive, negative) if conversion.attribute("detect_positive", 1) else negative


@converter("BitShift")
def bit_shift(conversion: Conversion) -> relax.Expr:
    """``a`` shifted by ``b`` bits; a shift beyond the type's width leaves 0, or the sign of a negative number."""
    left = conversion.attribute("direction") == "LEFT"
    dtype = dtype_of(conversion.tensor(0))
    bits = int(dtype.lstrip("uint"))

    def shifted(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
        # LLVM leaves a shift by the type's width or more undefined.
        count = tirx.Cast("int64", b)
        inside = tirx.all(count >= 0, count < bits)
        amount = tirx.Select(inside, b, tirx.const(bits - 1, dtype))
        if not left:
            zero = tirx.const(0, dtype)
            beyond = tirx.Select(a < 0, tirx.const(-1, dtype), zero) if dtype.startswith("int") else zero
            return tirx.Select(inside, a >> amount, beyond)
        return tirx.Select(inside, a << amount, tirx.const(0, dtype))

    tensors = conversion.broadcastable(*conversion.tensors())
    return conversion.call_te(lambda x, y: _broadcast(shifted, x, y), *tensors, name="bit_shift")


@converter("Sum", "Min", "Max", "Mean")
def variadic(conversion: Conversion) -> relax.Expr:
    """Any number of tensors that broadcast, combined from left to right."""
    combine = {"Sum": relax.op.add, "Mean": relax.op.add, "Min": _minimum, "Max": _maximum}[conversion.op]
    tensors = conversion.broadcastable(*conversion.tensors())
    result = functools.reduce(lambda a, b: conversion.emit(combine(a, b)), tensors[:-1] or tensors)
    if len(tensors) > 1:
        result = combine(result, tensors[-1])
    if conversion.op == "Mean" and len(tensors) > 1:
        result = relax.op.divide(result, scalar(len(tensors), tensors[0]))
    return result


def _minimum(a: relax.Expr, b: relax.Expr) -> relax.Expr:
    return relax.op.minimum(a, b)


def _maximum(a: relax.Expr, b: relax.Expr) -> relax.Expr:
    return relax.op.maximum(a, b)


@converter("Where")
def where(conversion: Conversion) -> relax.Expr:
    """``a`` where the condition holds, else ``b``."""
    return relax.op.where(*conversion.broadcastable(*conversion.tensors()))


@converter("Cast", "CastLike")
def cast(conversion: Conversion) -> relax.Expr:
    """Elements in another type; floating point becomes integer by dropping the fraction."""
    x = conversion.tensor(0)
    to = conversion.target_dtype() if conversion.op == "Cast" else dtype_of(conversion.tensor(1))
    if to == dtype_of(x):
        return x
    if to == "bool":
        return relax.op.not_equal(x, scalar(0, x))
    if not to.startswith(("int", "uint", "float", "bfloat")) or to in ("int4", "uint4", "float4_e2m1fn"):
        raise ConversionError(f"elements of type {to} can't be compiled")
    return relax.op.astype(x, to)
