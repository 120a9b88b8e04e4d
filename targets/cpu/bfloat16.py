"""bfloat16 numbers in kernels: how they are read, rounded, and multiplied in pairs.

A bfloat16 is the upper half of a float32. Tensors of them are ``uint16`` tensors of bit patterns, because TVM 0.27
turns vectors of bfloat16 into float32 before LLVM sees them; constant weights are ``uint32`` tensors of pairs. Two
operations have instructions:

    pair_product(a0, a1, w)     a0 * lower(w) + a1 * upper(w), float32
    rounded(x)                  float32 -> bfloat16, to nearest, ties to even

Until loops are vectorised they stand in the program as calls of LLVM's intrinsics, which TVM vectorises as it does
arithmetic. ``link_functions`` then makes of them functions in LLVM IR, which are inlined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import tvm
from tvm import te, tirx
from tvm.ir import Call, StringImm
from tvm.ir.expr import TensorLoad
from tvm_ffi import structural_map

from lepton_compiler.targets.x86.instructions import dot_bfloat16

STORED = "uint16"
"""Element type of tensors of bfloat16."""
STORED_PAIRS = "uint32"
"""Element type of tensors of pairs of bfloat16, the first one in the lower half."""

_ROUND = "llvm.x86.avx512bf16.cvtneps2bf16.512"
_DOT = "llvm.x86.avx512bf16.dpbf16ps.512"
_HALF = 16
"""Bits of a bfloat16."""

_ROUND_TEXT = """
define linkonce_odr {bits} @{function}({floats} %value) alwaysinline {{
  %narrow = fptrunc {floats} %value to {narrow}
  %bits = bitcast {narrow} %narrow to {bits}
  ret {bits} %bits
}}
"""


def widened(bits: tirx.Expr) -> tirx.Expr:
    """The float32 that a stored bfloat16 is; exact."""
    return _upper_half(bits.astype("uint32") << tirx.const(_HALF, "uint32"))


def element_reader(data: te.Tensor) -> Callable[..., tirx.Expr]:
    """Reads elements of a float32 tensor, or of a stored one, as float32."""
    return (lambda *index: widened(data(*index))) if data.dtype == STORED else data


def rounded(value: tirx.Expr) -> tirx.Expr:
    """The bits of the bfloat16 nearest to a float32; infinities and NaN stay what they are."""
    return tirx.call_llvm_pure_intrin(STORED, _ROUND, value)


def pair_product(first: tirx.Expr, second: tirx.Expr, weights: tirx.Expr) -> tirx.Expr:
    """The float32 sum of two products of bfloat16 numbers, for sums over pairs.

    Args:
        first: A stored bfloat16, an element of a tensor.
        second: The element behind it.
        weights: The pair that they are multiplied with.
    """
    return tirx.call_llvm_pure_intrin("float32", _DOT, first, second, weights)


def is_pair_product(value: tirx.Expr) -> bool:
    """Whether an expression is a ``pair_product``."""
    name = getattr(getattr(value, "op", None), "name", "")
    return name == "tirx.call_llvm_pure_intrin" and int(value.args[0]) == _intrinsic(_DOT)


def link_functions(module: tvm.IRModule) -> tvm.IRModule:
    """Turns the operations of lowered kernels, their loops vectorised, into functions in LLVM IR that come along."""
    kernels = {
        var: _with_functions(function)
        for var, function in module.functions.items()
        if isinstance(function, tirx.PrimFunc)
    }
    return tvm.IRModule({**module.functions, **kernels}, attrs=module.attrs)


def _with_functions(func: tirx.PrimFunc) -> tirx.PrimFunc:
    linker = _Linker()
    body = structural_map(func.body, [(Call, linker.visit_call), (tirx.Add, linker.visit_add)])
    for name in sorted(linker.texts):
        text = StringImm(linker.texts[name])
        body = tirx.AttrStmt(tirx.const(0, "int32"), "pragma_import_llvm", text, body)
    return func if body.same_as(func.body) else func.with_body(body)


@dataclass
class _Linker:
    """Makes function calls of the operations, and collects the functions by name."""

    texts: dict[str, str] = field(default_factory=dict)

    def visit_call(self, call: Call) -> tirx.Expr:
        if getattr(call.op, "name", "") != "tirx.call_llvm_pure_intrin":
            return call
        number, *args = call.args
        if int(number) == _intrinsic(_ROUND):
            return self._round(*args)
        if int(number) == _intrinsic(_DOT):
            return self._dot(*args)
        return call

    def visit_add(self, add: tirx.Add) -> tirx.Expr:
        """Sums start from what they are added to."""
        product = add.b
        if not isinstance(product, Call) or not _is_dot(product):
            return add
        function, _, *factors = product.args
        return tirx.call_pure_extern(str(add.ty.dtype), function.value, add.a, *factors)

    def _round(self, value: tirx.Expr) -> tirx.Expr:
        lanes = value.ty.dtype.lanes
        function = f"lepton_round_bf16x{lanes}"
        floats, narrow, bits = (_llvm_type(kind, lanes) for kind in ("float", "bfloat", "i16"))
        self.texts[function] = _ROUND_TEXT.format(function=function, floats=floats, narrow=narrow, bits=bits)
        return tirx.call_pure_extern(_vector(STORED, lanes), function, value)

    def _dot(self, first: tirx.Expr, second: tirx.Expr, weights: tirx.Expr) -> tirx.Expr:
        lanes = weights.ty.dtype.lanes
        text = dot_bfloat16(lanes)
        if text is None or not isinstance(first, tirx.Broadcast) or not isinstance(first.value, TensorLoad):
            # Vectors of something else than outputs: arithmetic, one operation after the other.
            lower = _upper_half(weights << _like(weights, _HALF))
            upper = _upper_half((weights >> _like(weights, _HALF)) << _like(weights, _HALF))
            return _widened_vector(first) * lower + _widened_vector(second) * upper
        function = f"lepton_dot_bf16x{lanes}"
        self.texts[function] = text
        load = first.value
        *outer, last = load.indices
        pair = tirx.BufferLoad(load.source, [*outer, tirx.Ramp(last, 1, 2)])
        nothing = tirx.Broadcast(tirx.const(0.0, "float32"), lanes)
        return tirx.call_pure_extern(
            _vector("float32", lanes), function, nothing, tirx.reinterpret("int32", pair), weights
        )


def _is_dot(call: Call) -> bool:
    is_function = getattr(call.op, "name", "") == "tirx.call_pure_extern"
    return is_function and str(call.args[0].value).startswith("lepton_dot_bf16")


def _upper_half(bits: tirx.Expr) -> tirx.Expr:
    return tirx.reinterpret(_vector("float32", bits.ty.dtype.lanes), bits)


def _widened_vector(bits: tirx.Expr) -> tirx.Expr:
    wide = bits.astype(_vector("uint32", bits.ty.dtype.lanes))
    return _upper_half(wide << _like(wide, _HALF))


def _like(vector: tirx.Expr, number: int) -> tirx.Expr:
    lanes = vector.ty.dtype.lanes
    value = tirx.const(number, "uint32")
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def _vector(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def _llvm_type(kind: str, lanes: int) -> str:
    return kind if lanes == 1 else f"<{lanes} x {kind}>"


@cache
def _intrinsic(name: str) -> int:
    return int(tirx.call_llvm_pure_intrin("float32", name, tirx.const(0.0, "float32")).args[0])
