"""Matrix products -> PrimFuncs with constant right sides packed for the target.

matmul(a, W) -> call_tir(packed_dense, a, pack(W))     W a constant matrix
matmul(a, b) -> call_tir(batched_matmul, a, b)
"""

from __future__ import annotations

from tvm import relax
from tvm.ir import GenericConst

from lepton_compiler.passes.layout.pack_weights import pack_dense_weight
from lepton_compiler.passes.lowering.matmul_computes import batched_matmul, packed_dense
from lepton_compiler.passes.precision.bfloat16_tensors import conversion_of, is_bfloat16, pair_up
from lepton_compiler.targets.spec import TargetSpec

_OUT_ELEMENTWISE_FUSABLE = 4
"""TVM's pattern kind of an operator that elementwise ones may fuse behind."""


def why_not_packed_dense(call: relax.Call) -> str | None:
    """Why the right side of a matrix product can't be packed, or None where it can."""
    if not isinstance(call.args[1], GenericConst):
        return "the right side is not a constant"
    if len(call.args[1].ty.shape) != 2:
        return f"the right side has {len(call.args[1].ty.shape)} axes, not 2"
    return _why_not_tiled(call)


def legalize_matmul(bb: relax.BlockBuilder, call: relax.Call, target: TargetSpec) -> relax.Expr:
    """Replaces a matrix product; the result may fuse with elementwise operators behind it."""
    attributes = {"op_pattern": _OUT_ELEMENTWISE_FUSABLE}
    left, right = call.args
    if why_not_packed_dense(call) is None:
        weight = right.value.numpy()
        packed = pack_dense_weight(weight, target.vector_lanes())
        columns = int(weight.shape[1])
        stored = _stored_operand(bb, left)
        if stored is not None and target.has_bfloat16_dot and is_bfloat16(weight) and weight.shape[0] % 2 == 0:
            left, packed = stored, pair_up(packed, 1)
        return bb.call_te(
            lambda a, w: packed_dense(a, w, columns),
            left,
            relax.const(packed),
            primfunc_name_hint="dense",
            primfunc_attrs=attributes,
        )
    if _why_not_tiled(call) is None:
        batch = list(call.ty.shape)[:-2]
        return bb.call_te(
            lambda a, b: batched_matmul(a, b, batch),
            left,
            right,
            primfunc_name_hint="matmul",
            primfunc_attrs=attributes,
        )
    return call.op.get_attr("FLegalize")(bb, call)


def _stored_operand(bb: relax.BlockBuilder, operand: relax.Expr) -> relax.Expr | None:
    """The stored bfloat16 tensor that an operand is the float32 form of, None where it is none."""
    value = bb.lookup_binding(operand) if isinstance(operand, relax.Var) else None
    return value.args[1].fields[0] if conversion_of(bb.get(), value) == "widen" else None


def _why_not_tiled(call: relax.Call) -> str | None:
    """Why a product has no register tile; TVM's own definition and the generic schedule serve it."""
    left, right = (arg.ty for arg in call.args)
    if len(left.shape) < 2 or len(right.shape) < 2:
        return "an operand is a vector"
    if any(str(ty.dtype) != "float32" for ty in (left, right, call.ty)):
        return f"the element type is {call.ty.dtype}, not float32"
    if any(hasattr(size, "value") and int(size) == 0 for size in (*left.shape, *right.shape)):
        return "an operand is empty"
    return None
