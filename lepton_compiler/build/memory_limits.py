"""Refuses memory that the target can't address, and warns of more than this machine has."""

from __future__ import annotations

import os
import warnings

from lepton_compiler.build.execution_plan import ExecutionPlan, size_bytes
from lepton_compiler.build.plan_memory import SlotLayout, StaticLayout
from lepton_compiler.core.abi import MAX_TENSOR_BYTES
from lepton_compiler.core.errors import InputError, LeptonWarning
from lepton_compiler.targets.spec import TargetSpec


def check_memory(
    plan: ExecutionPlan, layout: StaticLayout | SlotLayout, weights_bytes: int, target: TargetSpec
) -> None:
    """Judges arena, weights, inputs and outputs together; what symbolic sizes add shows when the model runs.

    Raises:
        InputError: No process on the target could hold them.
    """
    if isinstance(layout, SlotLayout):
        return
    borders = [size_bytes(tensor.shape, tensor.dtype) for tensor in (*plan.inputs, *plan.outputs)]
    needed = layout.arena_bytes + weights_bytes + sum(size for size in borders if isinstance(size, int))
    text = f"one run needs {needed / 2**30:.1f} GiB for inputs, outputs, weights and intermediate tensors"
    addressable = min(MAX_TENSOR_BYTES, 1 << target.architecture.pointer_bits)
    if needed > addressable:
        raise InputError(f"{text}, more than {target.name} can address: give smaller sizes with --input-shapes")
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > installed:
        warnings.warn(f"{text}; this machine has {installed / 2**30:.1f} GiB", LeptonWarning, stacklevel=2)
