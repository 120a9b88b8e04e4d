"""Keeps register tiles and other small scratch on the stack, where LLVM turns them into registers.

TVM's own limit for that is 1024 bytes, and counts the lanes of a vector type twice, so that it allocates the sums of
every tile on the heap. LLVM keeps such sums in registers only as long as nothing in the loop could read memory: behind
a prefetch it stores all of them in each step.

That is for kernels with one loop of reduction. Where there are several (chunks of channels, taps), sums in registers
from the first loop to the last leave LLVM too few registers in between, and a convolution takes up to three times as
long.
"""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import tirx

from lepton_compiler.targets.cpu.schedule import ANCHOR_ATTRIBUTE

_MOST_BYTES = 8 << 10
"""Largest buffer that goes to the stack: several times the registers of any target, little beside any stack."""
_ANCHORS = ("dense", "matmul", "attention")
"""Kernels whose reduction is one loop."""
_STAYS = "disable_lower_builtin"
"""TVM's annotation of an allocation that ``LowerTVMBuiltin`` must leave to the code generator."""


def keep_on_stack(module: tvm.IRModule) -> tvm.IRModule:
    """Marks the small buffers of scope ``local``; for a module before its built-in calls are lowered."""
    marked = {
        var: function.with_body(_marked(function.body)) if _is_one_loop(function) else function
        for var, function in module.functions.items()
    }
    return tvm.IRModule(marked, attrs=module.attrs)


def _is_one_loop(function: tirx.PrimFunc) -> bool:
    return bool(function.attrs) and str(function.attrs.get(ANCHOR_ATTRIBUTE)) in _ANCHORS


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
