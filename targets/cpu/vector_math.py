"""Elementary functions as arithmetic, so that they run in vector lanes instead of calling the C library lane by lane.

    exp(x)      2^n * p(x - n ln 2), n = round(x / ln 2)         within 2e-7 relative
    tanh(x)     x p(x^2) / q(x^2), saturated at 1                 within 4e-7 relative
    sigmoid(x)  1 / (1 + exp(-x))
    erf(x)      x p(x^2) / q(x^2), saturated at 1                 within 4e-7 relative

sinh, cosh and fmod, for which TVM's LLVM code generator has no lowering, call the C library.

Overflow gives infinity, underflow a subnormal number and then 0, and NaN stays NaN. Arithmetic replaces float32 only.

Sources: exp: reduction after Cody and Waite, "Software Manual for the Elementary Functions", 1980, polynomial of
Cephes' expf (S. Moshier). tanh: the rational minimax approximation of Eigen's generic packet math. erf: fitted here,
by Lawson's reweighted least squares on 1200 Chebyshev points of [0, 3.925]; 2e-8 off before rounding.
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

_TANH_SATURATED = 7.90531110763549805
_TANH_NUMERATOR = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_DENOMINATOR = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)

_ERF_SATURATED = 3.925
_ERF_NUMERATOR = (
    2.0459939526007933e-06,
    2.848255826481262e-04,
    3.772106437619742e-03,
    5.276789580778647e-02,
    1.9058455929889632e-01,
    1.1283791459221937,
)
_ERF_DENOMINATOR = (
    3.804648742456657e-05,
    1.1637354117724709e-03,
    1.4982313043749909e-02,
    1.1417875288029616e-01,
    5.022339010413057e-01,
    1.0,
)


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


def _power_of_two(exponent: tirx.Expr) -> tirx.Expr:
    return tirx.reinterpret("float32", (exponent + 127) << 23)


def _tanh(x: Var, names: itertools.count) -> tirx.Expr:
    limit = _float(_TANH_SATURATED)
    clamped = tirx.min(tirx.max(x, -limit), limit)

    def rational(c: Var) -> tirx.Expr:
        return _named(c * c, names, lambda s: c * _polynomial(s, _TANH_NUMERATOR) / _polynomial(s, _TANH_DENOMINATOR))

    return _unless_nan(x, _named(clamped, names, rational))


def _sigmoid(x: Var, names: itertools.count) -> tirx.Expr:
    return _float(1.0) / (_float(1.0) + _named(-x, names, lambda negative: _exp(negative, names)))


def _erf(x: Var, names: itertools.count) -> tirx.Expr:
    limit, one = _float(_ERF_SATURATED), _float(1.0)
    clamped = tirx.min(tirx.max(x, -limit), limit)

    def rational(c: Var) -> tirx.Expr:
        value = _named(c * c, names, lambda s: c * _polynomial(s, _ERF_NUMERATOR) / _polynomial(s, _ERF_DENOMINATOR))
        return tirx.min(tirx.max(value, -one), one)

    return _unless_nan(x, _named(clamped, names, rational))


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
