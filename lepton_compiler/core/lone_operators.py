"""Elementwise kernels that stand alone behind an anchor, and what kept each from being fused into it.

The pass that fuses reports them. One that nothing kept apart is an optimisation missed: users see it as such, and under
test it is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import tvm
import tvm_ffi
from tvm import relax

OP_PATTERN_ATTRIBUTE = "op_pattern"
"""Attribute of a PrimFunc that says how its output depends on its inputs."""


class OpPattern(IntEnum):
    """TVM's operator patterns (``include/tvm/relax/op_attr_types.h``), from easy to fuse to impossible."""

    ELEMENTWISE = 0
    BROADCAST = 1
    INJECTIVE = 2
    REDUCTION = 3
    ANCHOR = 4
    TUPLE = 7
    OPAQUE = 8


@dataclass(frozen=True)
class LoneOperator:
    """An elementwise kernel of its own whose input comes from an anchor.

    Attributes:
        node: Its name.
        anchor: Name of the node that computes the input.
        reason: What keeps the two apart; None where nothing does.
    """

    node: str
    anchor: str
    reason: str | None


def kernel_of(value: relax.Expr | None) -> tvm.ir.GlobalVar | None:
    """The kernel that ``value`` calls, None where it is no ``call_tir``."""
    if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op) and value.op.name == "relax.call_tir":
        kernel = value.args[0]
        return kernel if isinstance(kernel, tvm.ir.GlobalVar) else None
    return None


def pattern_of(module: tvm.IRModule, value: relax.Expr | None) -> OpPattern | None:
    """Pattern of the kernel that ``value`` calls, None where it calls none or the kernel has no pattern."""
    kernel = kernel_of(value)
    attrs = module[kernel].attrs if kernel is not None else None
    return OpPattern(int(attrs[OP_PATTERN_ATTRIBUTE])) if attrs and OP_PATTERN_ATTRIBUTE in attrs else None


def lone_operators(module: tvm.IRModule) -> Iterator[LoneOperator]:
    """Every elementwise kernel behind an anchor, one entry for each such input."""
    function = module["main"]
    bindings = [binding for block in function.body.blocks for binding in block.bindings]
    values = {binding.var: binding.value for binding in bindings}
    outputs = relax.analysis.free_vars(function.body.body)
    readers = Counter(var for value in values.values() for var in relax.analysis.free_vars(value))
    for binding in bindings:
        pattern = pattern_of(module, binding.value)
        if pattern is None or pattern > OpPattern.BROADCAST:
            continue
        for source in relax.analysis.free_vars(binding.value):
            anchor, reshaped = _behind_reshapes(source, values)
            if pattern_of(module, values.get(anchor)) is OpPattern.ANCHOR:
                reason = _reason(binding.var, source, anchor, reshaped, readers[source], source in outputs)
                yield LoneOperator(binding.var.name, anchor.name, reason)


def _behind_reshapes(var: relax.Var, values: dict[relax.Var, relax.Expr]) -> tuple[relax.Var, bool]:
    """What computes ``var`` once reshapes are looked through, and whether there were any."""
    reshaped = False
    while (source := _reshaped(values.get(var))) is not None:
        var, reshaped = source, True
    return var, reshaped


def _reshaped(value: relax.Expr | None) -> relax.Var | None:
    """The variable that ``value`` reshapes, None where it is no reshape of a variable."""
    if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op) and value.op.name == "relax.reshape":
        source = value.args[0]
        return source if isinstance(source, relax.Var) else None
    return None


def _reason(
    var: relax.Var, source: relax.Var, anchor: relax.Var, reshaped: bool, readers: int, is_output: bool
) -> str | None:
    if reshaped:
        return f"a reshape stands between it and {anchor.name}"
    if is_output:
        return f"the output of {anchor.name} is also an output of the model"
    if readers > 1:
        return f"the output of {anchor.name} is read by {readers} nodes"
    if not isinstance(var.ty, relax.TensorType) or not isinstance(source.ty, relax.TensorType):
        return f"the output of {anchor.name} is a tuple"
    if not tvm_ffi.structural_equal(var.ty.shape, source.ty.shape):
        return f"its shape {var.ty.shape} differs from the shape {source.ty.shape} of {anchor.name}"
    return None
