"""What must hold when a stage is reached. A broken contract is the compiler's fault and names stage and node.

    IMPORTED    main names its inputs and outputs, and every shape is known, be it by symbols
    CANONICAL   no batch norm is left, and no operator that reads constants only, unless its result is large or symbolic
    LOWERED     only calls of kernels and reshapes are left
    SCHEDULED   every kernel has a schedule and says which

Identities are no part of it: the pass that removes them can be switched off. Nor is fusion: a kernel that stays alone
is slower and right, so ``FuseOperators`` reports it, and the tests alone insist (``lone_operators.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import tvm
from tvm import relax
from tvm.ir import GenericConst

from lepton_compiler.core.errors import InternalError
from lepton_compiler.core.program import Stage

_FOLDED_IN_CANONICAL = {"relax.nn.batch_norm": "a BatchNorm is left"}
_ALWAYS_FOLDED_ELEMENTS = 1 << 12
_SCHEDULED_ATTRIBUTE = "lepton.schedule"


def bindings(module: tvm.IRModule) -> Iterator[relax.VarBinding]:
    """Every binding of ``main``, in order."""
    for block in module["main"].body.blocks:
        yield from block.bindings


def operator_name(value: relax.Expr) -> str | None:
    """``"relax.nn.relu"`` for a call of that operator, None for anything else."""
    if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op):
        return value.op.name
    return None


def _check_imported(module: tvm.IRModule) -> Iterator[str]:
    attrs = module["main"].attrs or {}
    for key in ("input_names", "output_names"):
        if key not in attrs:
            yield f'main has no attribute "{key}"'
    for binding in bindings(module):
        ty = binding.var.ty
        if isinstance(ty, relax.TensorType) and ty.shape is None:
            yield f"node {binding.var.name} has an unknown shape"


def _check_canonical(module: tvm.IRModule) -> Iterator[str]:
    for binding in bindings(module):
        problem = _FOLDED_IN_CANONICAL.get(operator_name(binding.value) or "")
        if problem:
            yield f"node {binding.var.name}: {problem}"
        elif _is_small_constant(binding):
            yield f"node {binding.var.name}: {operator_name(binding.value)} of constants is left"


def _is_small_constant(binding: relax.VarBinding) -> bool:
    """Whether an operator reads constants only and its result is too small to be kept unfolded for its size."""
    if operator_name(binding.value) in (None, "relax.call_tir"):
        return False
    args = binding.value.args
    if not all(map(_is_constant, args)) or not any(map(_holds_tensor, args)):
        return False
    ty = binding.var.ty
    sizes = [_elements(field) for field in (ty.fields if isinstance(ty, relax.TupleType) else [ty])]
    return bool(sizes) and None not in sizes and sum(sizes) <= _ALWAYS_FOLDED_ELEMENTS


def _is_constant(arg: relax.Expr) -> bool:
    if isinstance(arg, relax.Tuple):
        return all(map(_is_constant, arg.fields))
    if isinstance(arg, relax.ShapeExpr):
        return all(isinstance(extent, tvm.tirx.IntImm) for extent in arg.values)
    return isinstance(arg, GenericConst | tvm.tirx.IntImm | tvm.tirx.FloatImm | tvm.ir.StringImm)


def _holds_tensor(arg: relax.Expr) -> bool:
    return any(isinstance(field, GenericConst) for field in (arg.fields if isinstance(arg, relax.Tuple) else [arg]))


def _elements(ty: relax.Type) -> int | None:
    """Number of elements of a tensor, None where it is not known."""
    if not isinstance(ty, relax.TensorType) or ty.shape is None:
        return None
    extents = [int(extent) for extent in ty.shape.values if isinstance(extent, tvm.tirx.IntImm)]
    return math.prod(extents) if len(extents) == ty.ndim else None


def _check_lowered(module: tvm.IRModule) -> Iterator[str]:
    allowed = {"relax.call_tir", "relax.reshape"}
    for binding in bindings(module):
        name = operator_name(binding.value)
        if name is not None and name not in allowed:
            yield f"node {binding.var.name}: operator {name} was not lowered"
        elif isinstance(binding.value, relax.Call) and name is None:
            yield f"node {binding.var.name}: a call of {binding.value.op} is left"


def _check_scheduled(module: tvm.IRModule) -> Iterator[str]:
    for var, function in module.functions.items():
        if isinstance(function, tvm.tirx.PrimFunc) and _SCHEDULED_ATTRIBUTE not in (function.attrs or {}):
            yield f"kernel {var.name_hint} has no schedule"


_CHECKS: dict[Stage, Callable[[tvm.IRModule], Iterator[str]]] = {
    Stage.IMPORTED: _check_imported,
    Stage.CANONICAL: _check_canonical,
    Stage.LOWERED: _check_lowered,
    Stage.SCHEDULED: _check_scheduled,
}


def check_contract(module: tvm.IRModule, stage: Stage) -> None:
    """Checks what ``stage`` promises.

    Raises:
        InternalError: The module breaks the contract; the message lists the first ten places.
    """
    if not relax.analysis.check_well_formed(module):
        raise InternalError(f"the program is not well-formed at stage {stage.name}")
    check = _CHECKS.get(stage)
    problems = list(check(module)) if check else []
    if problems:
        shown = "; ".join(problems[:10])
        more = f"; {len(problems) - 10} more" if len(problems) > 10 else ""
        raise InternalError(f"contract of stage {stage.name} broken: {shown}{more}")
