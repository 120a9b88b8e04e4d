"""Kernels of our own that treat every channel alike, turned to packed activations: resizes, masks.

    out[n, c, y, x] = f(data[n, c, ..], table[..])    ->    out[n, cb, y, x, v] = f(data[n, cb, .., v], table[..])

The kernel's one stage is read as an expression of its indices; where batch and channel only address the data, the same
expression holds for each channel of a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import relax, te, tirx
from tvm.ir import Call, Var
from tvm.ir.expr import TensorLoad
from tvm.s_tir import SBlock
from tvm_ffi import structural_map, structural_walk

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.targets.cpu.block_analysis import CONDITION, uses

_KEPT_CALLS = {CONDITION}
"""Calls that give a finite number for finite ones; others could turn the zeros that fill a vector into infinities."""


@dataclass(frozen=True)
class ChannelwiseKernel:
    """One stage over ``[n, C, *spatial]``.

    Attributes:
        data: The parameter that holds the activation.
        others: The other parameters: tensors that are read, and sizes.
        axes: The stage's variables, one an axis of the result.
        value: What it stores.
    """

    data: tirx.Var
    others: tuple[tirx.Var, ...]
    axes: tuple[Var, ...]
    value: tirx.Expr

    def packed(self, shape: list[tirx.Expr]) -> Callable[..., te.Tensor]:
        """The tensor expression over a packed activation and the other parameters, in the kernel's order.

        Args:
            shape: ``[n, C/v, *spatial, v]`` of the result.
        """

        def compute(data: te.Tensor, *tables: te.Tensor) -> te.Tensor:
            sources = dict(zip(self.others, tables, strict=True))
            sizes = {other: given for other, given in sources.items() if not tirx.is_buffer_var(other)}

            def element(*index: tirx.Var) -> tirx.Expr:
                *place, lane = index
                values = {**sizes, **dict(zip(self.axes, place, strict=True))}

                def load(old: TensorLoad) -> tirx.Expr:
                    # Operands of an index are loads themselves, so they are replaced first.
                    if old.source.same_as(self.data):
                        return data(*old.indices, lane)
                    return sources[old.source](*old.indices)

                located = structural_map(self.value, (Var, lambda variable: values.get(variable, variable)))
                return structural_map(located, (TensorLoad, load))

            return te_compute(shape, element, name="channelwise")

        return compute


def channelwise_kernel(module: tvm.IRModule, call: relax.Call, channels_of: int) -> ChannelwiseKernel | str:
    """Reads the kernel that ``call`` calls, or says why it is none of this kind.

    Args:
        module: Where kernels are found.
        call: A ``relax.call_tir``.
        channels_of: Which of its arguments is the activation.
    """
    function = module[call.args[0]]
    stage = _only_stage(function)
    if len(call.args) > 2 or stage is None:
        return "its kernel is not one stage of known sizes"
    block, store = stage
    axes = tuple(axis.var for axis in block.iter_vars)
    if len(store.indices) != len(axes) or not all(a.same_as(b) for a, b in zip(store.indices, axes, strict=True)):
        return "its kernel does not write element by element"
    *inputs, _ = function.params
    kernel = ChannelwiseKernel(
        inputs[channels_of], (*inputs[:channels_of], *inputs[channels_of + 1 :]), axes, store.value
    )
    if not _knows_all_variables(kernel):
        return "its kernel computes with symbolic sizes"
    return kernel if _treats_channels_alike(kernel) else "its kernel does not treat all channels alike"


def _only_stage(function: tirx.PrimFunc) -> tuple[SBlock, tirx.BufferStore] | None:
    blocks: list[SBlock] = []
    stores: list[tirx.BufferStore] = []
    structural_walk(function.body, [(SBlock, blocks.append), (tirx.BufferStore, stores.append)], order="pre")
    if len(blocks) != 2 or len(stores) != 1:
        return None
    data_parallel = all(axis.iter_type == tirx.IterVar.DataPar for axis in blocks[1].iter_vars)
    return (blocks[1], stores[0]) if data_parallel else None


def _knows_all_variables(kernel: ChannelwiseKernel) -> bool:
    """Whether the value depends on parameters only: symbols from the shapes of a kernel mean nothing outside of it."""
    known = {*kernel.axes, kernel.data, *kernel.others}
    return all(variable in known for variable in tirx.analysis.undefined_vars(kernel.value))


def _treats_channels_alike(kernel: ChannelwiseKernel) -> bool:
    """Whether batch and channel are the data's first indices and nothing else, and all calls keep zeros finite."""
    loads: list[TensorLoad] = []
    calls: list[Call] = []
    structural_walk(kernel.value, [(TensorLoad, loads.append), (Call, calls.append)])
    batch, channel = kernel.axes[:2]
    places: list[tirx.Expr] = []
    for load in loads:
        indices = list(load.indices)
        if load.source.same_as(kernel.data):
            if not (indices[0].same_as(batch) and indices[1].same_as(channel)):
                return False
            indices = indices[2:]
        places += indices
    addressed = sum(load.source.same_as(kernel.data) for load in loads)
    alike = not any(uses(place, variable) for place in places for variable in (batch, channel))
    # The data's own two indices are all that is left of them.
    return (
        alike
        and all(_count(kernel.value, variable) == addressed for variable in (batch, channel))
        and not any(call.op.name not in _KEPT_CALLS for call in calls)
    )


def _count(expression: tirx.Expr, variable: Var) -> int:
    found: list[Var] = []
    structural_walk(expression, (Var, lambda other: found.append(other) if other.same_as(variable) else None))
    return len(found)
