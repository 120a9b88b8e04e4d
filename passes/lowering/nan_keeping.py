"""Maxima and minima that keep NaN: relu, clip, maximum and minimum, as ONNX Runtime computes them.

    relu(x)         x < 0 ? 0 : x
    clip(x)         limits below first and above second
    maximum(a, b)   isnan(a) ? a : (a > b ? a : b)          a alone decides where b is a constant without NaN

TVM's own ``max(x, 0)`` makes 0 of NaN. A comparison with NaN is false, so it matters which operand is the last one;
written like this each line is still one ``max`` or ``min`` instruction and, but in the general maximum, nothing else.
Integers have no NaN and go to TVM's definitions.

Maxima that reduce (max pooling, ReduceMax, ReduceMin) still drop NaN: rewriting a reduction into partial ones, which
its schedule does, needs a reducer that TVM knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import relax, te, tirx
from tvm.ir import Var

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.passes.canonicalize.constant_arrays import array_of
from lepton_compiler.passes.lowering.matmul_computes import broadcast_index
from lepton_compiler.passes.lowering.row_major import Size

Chooser = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]


def legalize_relu(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Replaces ``relax.nn.relu``."""
    (x,) = call.args
    if not _is_floating(x):
        return call.op.get_attr("FLegalize")(bb, call)
    zero = tirx.const(0.0, str(x.ty.dtype))
    return bb.call_te(lambda data: _elementwise(data, lambda v: _at_least(v, zero)), x, primfunc_name_hint="relu")


def legalize_clip(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Replaces ``relax.clip``; where the limits cross, the upper one holds."""
    x, low, high = call.args
    if not _is_floating(x):
        return call.op.get_attr("FLegalize")(bb, call)
    dtype = str(x.ty.dtype)
    lowest, highest = (tirx.const(float(limit.value), dtype) for limit in (low, high))

    def limited(v: tirx.Expr) -> tirx.Expr:
        return _named(_at_least(v, lowest), lambda raised: _at_most(raised, highest))

    return bb.call_te(lambda data: _elementwise(data, limited), x, primfunc_name_hint="tir_clip")


def legalize_maximum(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Replaces ``relax.maximum``."""
    return _legalize_extremum(bb, call, _at_least, lambda a, b: tirx.Select(a > b, a, b), "maximum")


def legalize_minimum(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Replaces ``relax.minimum``."""
    return _legalize_extremum(bb, call, _at_most, lambda a, b: tirx.Select(a < b, a, b), "minimum")


def _at_least(x: tirx.Expr, limit: tirx.Expr) -> tirx.Expr:
    return tirx.Select(x < limit, limit, x)


def _at_most(x: tirx.Expr, limit: tirx.Expr) -> tirx.Expr:
    return tirx.Select(x > limit, limit, x)


def _legalize_extremum(
    bb: relax.BlockBuilder, call: relax.Call, limited: Chooser, either: Chooser, name: str
) -> relax.Expr:
    left, right = call.args
    if not _is_floating(left, right, call):
        return call.op.get_attr("FLegalize")(bb, call)
    if _is_number(left):
        left, right = right, left

    def choose(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
        if _is_number(right):
            return limited(a, b)
        # Not "a == a": TVM's simplifier takes that for true.
        return tirx.Select(tirx.isnan(a), a, either(a, b))

    if _is_number(right) and right.ty.ndim == 0:
        limit = tirx.const(right.value.numpy().item(), str(right.ty.dtype))
        return bb.call_te(lambda data: _elementwise(data, lambda v: choose(v, limit)), left, primfunc_name_hint=name)
    shape = list(call.ty.shape)
    return bb.call_te(lambda a, b: _broadcast(a, b, shape, choose), left, right, primfunc_name_hint=name)


def _elementwise(data: te.Tensor, function: Callable[[tirx.Expr], tirx.Expr]) -> te.Tensor:
    return te_compute(data.shape, lambda *index: _named(data(*index), function))


def _broadcast(left: te.Tensor, right: te.Tensor, shape: Sequence[Size], function: Chooser) -> te.Tensor:
    def value(*index: tirx.Var) -> tirx.Expr:
        a, b = (data(*broadcast_index(index, data.shape, shape)) for data in (left, right))
        return _named(a, lambda x: _named(b, lambda y: function(x, y)))

    return te_compute(shape, value)


def _named(value: tirx.Expr, use: Callable[[tirx.Expr], tirx.Expr]) -> tirx.Expr:
    """Computes ``value`` once: fusion replaces it by all that comes before, and chains of choices would double it."""
    variable = Var("value", value.ty)
    return tirx.Let(variable, value, use(variable))


def _is_floating(*operands: relax.Expr) -> bool:
    """Whether all are tensors of a floating-point type whose shapes are known."""
    types = [operand.ty for operand in operands]
    known = all(isinstance(ty, relax.TensorType) and ty.shape is not None for ty in types)
    return known and all("float" in str(ty.dtype) for ty in types)


def _is_number(expr: relax.Expr) -> bool:
    """Whether ``expr`` is a constant without NaN."""
    array = array_of(expr)
    return array is not None and not np.isnan(array.astype(np.float64)).any()
