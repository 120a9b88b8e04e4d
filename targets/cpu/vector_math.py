"""Elementary functions as arithmetic, so that they run in vector lanes instead of calling the C library lane by lane.

    exp(x)      2^n * p(x - n ln 2), n = round(x / ln 2)         within 8.6e-8 relative
    tanh(x)     x p(x^2) / q(x^2), 1 beyond 7.9                   within 3.0e-7, 4.2e-7 without fused multiply-adds
    sigmoid(x)  1 / (1 + exp(-x))                                  within 1.5e-7
    erf(x)      x p(x^2) / q(x^2), cut at 1                        within 3.8e-7, 4.5e-7 without fused multiply-adds

sinh, cosh and fmod, for which TVM's LLVM code generator has no lowering, call the C library.

Overflow gives infinity, underflow a subnormal number and then 0, and NaN stays NaN. tanh and erf reach 1 exactly:
``x (1 + tanh(x))`` would grow without bound for negative x otherwise. Arithmetic replaces float32 only.

Sources: exp: reduction after Cody and Waite, "Software Manual for the Elementary Functions", 1980, polynomial of
Cephes' expf (S. Moshier). tanh: the rational minimax approximation of Eigen's generic packet math. erf: a
minimax approximation of erf(sqrt(s)) / sqrt(s) for s below 15.6, found by linear programming (Barrodale, Powell and
Roberts, "The differential correction algorithm for rational l-infinity approximation", 1972); all its coefficients are
positive, so that no evaluation cancels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from tvm import tirx
from tvm.ir import Call, Var
from tvm_ffi import structural_map

_EXP_TERMS = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOG2_E = 1.44269504088896341
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4
_EXP_LOWEST, _EXP_HIGHEST = -104.0, 89.0
"""Where the result has left the subnormal numbers, and the finite ones."""
_EXP_LOWEST_NORMAL = -87.0
"""Where the result is about to leave the normal numbers."""

_TANH_SATURATED = 7.90531110763549805
"""Beyond, the result is 1. Up to there the quotient never exceeds it, with and without fused multiply-adds."""
_TANH_NUMERATOR = (
    -7.06756730220429e-14,
    5.12048103635141e-11,
    -2.20279590966716e-08,
    1.31130805513501e-05,
    3.80344923438026e-03,
    1.63139053792112e-01,
    1.25274228708297,
)
_TANH_DENOMINATOR = (3.06754149034757e-04, 3.03448846557834e-02, 5.80719265904384e-01, 1.25274244749923)
"""Eigen's times 256, so that the smallest normal numbers stay normal on the way."""

_ERF_SATURATED = 15.6
"""The square of an argument whose result rounds to 1."""
_ERF_NUMERATOR = (2.08105525e-06, 0.000279845194, 0.00355614594, 0.0520911131, 0.18557358, 1.12837915)
_ERF_DENOMINATOR = (3.81534525e-05, 0.00111136717, 0.0145461747, 0.112095817, 0.49779361, 1.0)


def expand_functions(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Replaces every call of a function that this module knows."""
    names = itertools.count()

    def replace(call: Call) -> tirx.Expr:
        name = getattr(call.op, "name", "")
        if name in _C_LIBRARY:
            return _c_library_call(_C_LIBRARY[name], call)
        expand = _EXPANSIONS.get(name)
        if expand is None or str(call.ty.dtype) != "float32":
            return call
        return _named(call.args[0], names, lambda x: expand(x, names))

    return func.with_body(structural_map(func.body, (Call, replace)))


def _exp(x: Var, names: itertools.count) -> tirx.Expr:
    clamped = tirx.min(tirx.max(x, _float(_EXP_LOWEST)), _float(_EXP_HIGHEST))

    def reduced(c: Var) -> tirx.Expr:
        return _named(tirx.floor(c * _float(_LOG2_E) + _float(0.5)), names, lambda n: scaled(c, n))

    def scaled(c: Var, n: Var) -> tirx.Expr:
        rest = c - n * _float(_LN2_HIGH) - n * _float(_LN2_LOW)
        value = _named(rest, names, lambda r: _polynomial(r, _EXP_TERMS) * r * r + r + _float(1.0))
        # Two factors: 2^n alone is neither finite nor normal at both ends of the range.
        return _named(n.astype("int32"), names, lambda k: value * _power_of_two(k >> 1) * _power_of_two(k - (k >> 1)))

    return _unless_nan(x, _named(clamped, names, reduced))


def exp_of_nonpositive(x: tirx.Expr) -> tirx.Expr:
    """exp for arguments up to 0, as in softmax, with a third fewer operations: 0 where the result is subnormal."""
    names = itertools.count()
    lowest = _float(_EXP_LOWEST_NORMAL)

    def value(v: Var) -> tirx.Expr:
        # Bounded for the exponent alone, so that NaN reaches the result through the rest.
        bounded = tirx.Select(v > lowest, v, lowest)
        return _named(tirx.floor(bounded * _float(_LOG2_E) + _float(0.5)), names, lambda n: scaled(v, n))

    def scaled(v: Var, n: Var) -> tirx.Expr:
        rest = v - n * _float(_LN2_HIGH) - n * _float(_LN2_LOW)
        power = _power_of_two(n.astype("int32"))
        result = _named(rest, names, lambda r: _polynomial(r, (*_EXP_TERMS, 1.0, 1.0)) * power)
        return tirx.Select(v < lowest, _float(0.0), result)

    return _named(x, names, value)


def _power_of_two(exponent: tirx.Expr) -> tirx.Expr:
    return tirx.reinterpret("float32", (exponent + 127) << 23)


def _tanh(x: Var, names: itertools.count) -> tirx.Expr:
    limit, one = _float(_TANH_SATURATED), _float(1.0)
    # Comparisons that NaN fails, so that it passes through the quotient. They read x and not the quotient, of which
    # there is one use: TVM writes out what is bound, so that functions of functions would take long to compile.
    quotient = _odd_rational(x, x * x, names, _TANH_NUMERATOR, _TANH_DENOMINATOR)
    return tirx.Select(x > limit, one, tirx.Select(x < -limit, -one, quotient))


def _sigmoid(x: Var, names: itertools.count) -> tirx.Expr:
    return _float(1.0) / (_float(1.0) + _named(-x, names, lambda negative: _exp(negative, names)))


def _erf(x: Var, names: itertools.count) -> tirx.Expr:
    # Only the square is bounded: beyond it the quotient grows with x, and is cut at 1.
    square = tirx.min(x * x, _float(_ERF_SATURATED))
    return _named(_odd_rational(x, square, names, _ERF_NUMERATOR, _ERF_DENOMINATOR), names, _clamp_to_one)


def _odd_rational(
    x: Var, square: tirx.Expr, names: itertools.count, numerator: Sequence[float], denominator: Sequence[float]
) -> tirx.Expr:
    return _named(square, names, lambda s: x * _polynomial(s, numerator) / _polynomial(s, denominator))


def _clamp_to_one(y: Var) -> tirx.Expr:
    """Comparisons that NaN fails, so that it passes; ``min`` and ``max`` would drop it."""
    one = _float(1.0)
    return tirx.Select(y > one, one, tirx.Select(y < -one, -one, y))


_EXPANSIONS: dict[str, Callable[[Var, itertools.count], tirx.Expr]] = {
    "tirx.exp": _exp,
    "tirx.tanh": _tanh,
    "tirx.sigmoid": _sigmoid,
    "tirx.erf": _erf,
}
_C_LIBRARY = {"tirx.sinh": "sinh", "tirx.cosh": "cosh", "tirx.fmod": "fmod"}


def _c_library_call(function: str, call: Call) -> tirx.Expr:
    dtype = str(call.ty.dtype)
    if dtype == "float64":
        return tirx.call_pure_extern(dtype, function, *call.args)
    # Narrower types than float32 have no functions of their own.
    args = [arg.astype("float32") for arg in call.args]
    return tirx.call_pure_extern("float32", f"{function}f", *args).astype(dtype)


def _unless_nan(x: Var, value: tirx.Expr) -> tirx.Expr:
    # Not "x == x": TVM's simplifier takes that for true.
    return tirx.Select(tirx.isnan(x), x, value)


def _named(value: tirx.Expr, names: itertools.count, use: Callable[[Var], tirx.Expr]) -> tirx.Expr:
    """Computes ``value`` once, however often ``use`` repeats it."""
    variable = Var(f"t{next(names)}", value.ty)
    return tirx.Let(variable, value, use(variable))


def _polynomial(x: tirx.Expr, coefficients: Sequence[float]) -> tirx.Expr:
    """Horner's scheme, highest power first."""
    result: tirx.Expr = _float(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + _float(coefficient)
    return result


def _float(value: float) -> tirx.FloatImm:
    return tirx.FloatImm("float32", value)
