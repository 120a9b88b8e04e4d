"""Keeps register tiles and other small scratch on the stack, where LLVM turns them into registers.

TVM's own limit for that is 1024 bytes, and counts the lanes of a vector type twice, so that it allocates the sums of
every tile on the heap. LLVM keeps such sums in registers only as long as nothing in the loop could read memory: behind
a prefetch it stores all of them in each step.
"""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import tirx

_MOST_BYTES = 8 << 10
"""Largest buffer that goes to the stack: several times the registers of any target, little beside any stack."""
_STAYS = "disable_lower_builtin"
"""TVM's annotation of an allocation that ``LowerTVMBuiltin`` must leave to the code generator."""


def keep_on_stack(module: tvm.IRModule) -> tvm.IRModule:
    """Marks the small buffers of scope ``local``; for a module before its built-in calls are lowered."""
    marked = {var: function.with_body(_marked(function.body)) for var, function in module.functions.items()}
    return tvm.IRModule(marked, attrs=module.attrs)


def _marked(body: tirx.Stmt) -> tirx.Stmt:
    def mark(allocation: tirx.AllocBuffer) -> tirx.AllocBuffer:
        if allocation.buffer.scope() != "local" or not _is_small(allocation.buffer):
            return allocation
        annotations = {**(allocation.annotations or {}), _STAYS: tirx.IntImm("bool", 1)}
        return tirx.AllocBuffer(allocation.buffer, annotations)

    return tvm_ffi.structural_map(body, (tirx.AllocBuffer, mark))


def _is_small(buffer: tirx.Buffer) -> bool:
    if not all(isinstance(extent, tirx.IntImm) for extent in buffer.shape):
        return False
    dtype = tvm.runtime.DataType(str(buffer.dtype))
    return math.prod(int(extent) for extent in buffer.shape) * dtype.lanes * dtype.bits // 8 <= _MOST_BYTES
