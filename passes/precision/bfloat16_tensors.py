"""bfloat16 tensors in the graph: how they come about, how they are read, and weights in pairs.

    rounded(x)    float32 -> bfloat16, a kernel of its own until it is fused behind what computes ``x``
    widened(s)    bfloat16 -> float32, fused in front of what reads it

What reads a tensor that is stored as bfloat16 reads ``widened(s)``, so the graph says what is computed whether or not
an operator has a kernel that takes the stored numbers as they are. Kernels that do find them with ``stored_operand``.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, te

from lepton_compiler.core.lone_operators import OpPattern, kernel_of
from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.passes.main_graph import MainGraph
from lepton_compiler.targets.cpu.bfloat16 import STORED, STORED_PAIRS, rounded, widened

CONVERSION = "lepton.conversion"
"""Attribute of a kernel that converts element by element: ``round`` or ``widen``."""

_COMPUTE = {"round": rounded, "widen": widened}
_ROUNDING = 0x7FFF
_QUIET = 0x40


def emit_conversion(graph: MainGraph, name: str, conversion: str, value: relax.Expr) -> relax.Var:
    """Adds a conversion of every element of ``value`` to the graph.

    Args:
        graph: The graph that is being written.
        name: Name of the new binding.
        conversion: ``"round"`` of a float32 tensor, or ``"widen"`` of a stored one.
        value: A tensor of the new function.
    """
    compute = _COMPUTE[conversion]

    def kernel(data: te.Tensor) -> te.Tensor:
        return te_compute(data.shape, lambda *index: compute(data(*index)), name=f"{conversion}_bfloat16")

    return graph.emit_te(
        name, f"{conversion}_bfloat16", kernel, value, pattern=OpPattern.ELEMENTWISE, attrs={CONVERSION: conversion}
    )


def conversion_of(module: tvm.IRModule, value: relax.Expr | None) -> str | None:
    """Which conversion a call is: ``"round"``, ``"widen"``, or None."""
    kernel = kernel_of(value)
    attrs = module[kernel].attrs if kernel is not None and kernel in module.functions else None
    return str(attrs[CONVERSION]) if attrs and CONVERSION in attrs else None


def stored_operand(graph: MainGraph, expr: relax.Expr) -> relax.Var | None:
    """The stored tensor that a variable of the new function is the float32 form of; None where it is none."""
    value = graph.definition(expr)
    return value.args[1].fields[0] if conversion_of(graph.module, value) == "widen" else None


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16 of each float32, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    nearest = (bits + np.uint32(_ROUNDING) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(array), (bits >> 16) | _QUIET, nearest).astype(STORED)


def to_float32(bits: np.ndarray) -> np.ndarray:
    """The float32 that each bfloat16 is."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def is_bfloat16(array: np.ndarray) -> bool:
    """Whether every element of a float32 array is a bfloat16 number."""
    return array.dtype == np.float32 and not np.any(np.ascontiguousarray(array).view(np.uint32) & 0xFFFF)


def pair_up(array: np.ndarray, axis: int) -> np.ndarray:
    """Pairs of neighbours along an axis of even size, as bfloat16 in one ``uint32``, the first in the lower half.

    Args:
        array: float32, every element a bfloat16 number.
        axis: Axis of the pairs; half as long in the result.
    """
    bits = np.moveaxis(to_bfloat16(array), axis, -1).astype(STORED_PAIRS)
    pairs = bits[..., 0::2] | (bits[..., 1::2] << 16)
    return np.ascontiguousarray(np.moveaxis(pairs, -1, axis))
