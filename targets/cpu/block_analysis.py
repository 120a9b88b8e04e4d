"""What a schedule needs to know about one block of a PrimFunc: its axes, its extents, and which axis is contiguous."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var
from tvm.s_tir import SBlock, Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm_ffi import structural_walk

CONDITION = "prim.if_then_else"
"""Name of the operator that evaluates one of two expressions only."""
_SPATIAL = tirx.IterVar.DataPar
_REDUCTION = tirx.IterVar.CommReduce


@dataclass(frozen=True)
class Axis:
    """One axis of a block.

    Attributes:
        loop: The loop that the axis is bound to.
        variable: The block's own variable for it.
        extent: Number of iterations, None where it is symbolic.
        is_reduction: Whether iterations add into the same element.
    """

    loop: LoopRV
    variable: Var
    extent: int | None
    is_reduction: bool


@dataclass(frozen=True)
class BlockInfo:
    """One block, with its axes in loop order.

    Attributes:
        block: Handle of the block.
        name: Its unique name in the function.
        axes: One a loop, outermost first; empty where the block is opaque.
        anchor: What the legalization says that the block computes (annotation ``lepton.anchor``), or None.
    """

    block: SBlockRV
    name: str
    axes: tuple[Axis, ...]
    anchor: str | None

    @property
    def is_opaque(self) -> bool:
        """Whether axes and loops do not match one to one, or iterations may depend on each other."""
        return not self.axes

    @property
    def is_reduction(self) -> bool:
        """Whether any axis is a reduction."""
        return any(axis.is_reduction for axis in self.axes)

    @property
    def spatial(self) -> tuple[Axis, ...]:
        """The axes whose iterations write different elements."""
        return tuple(axis for axis in self.axes if not axis.is_reduction)

    @property
    def reductions(self) -> tuple[Axis, ...]:
        """The axes that are summed (or maximised, ...) over."""
        return tuple(axis for axis in self.axes if axis.is_reduction)


def root_blocks(sch: Schedule) -> list[BlockInfo]:
    """Every block below the root, in program order; none where the root itself does the work."""
    root = sch.get_sblock(sch.mod["main"].body.block.name_hint)
    return [describe_block(sch, block) for block in sch.get_child_blocks(root)]


def describe_block(sch: Schedule, block: SBlockRV) -> BlockInfo:
    """Reads the axes of ``block``."""
    node = sch.get(block)
    anchor = node.annotations.get("lepton.anchor")
    return BlockInfo(block, node.name_hint, _axes(sch, block, node), str(anchor) if anchor is not None else None)


def _axes(sch: Schedule, block: SBlockRV, node: SBlock) -> tuple[Axis, ...]:
    """The axes in loop order, or nothing where an axis is not exactly one loop over its whole domain."""
    loops = sch.get_loops(block)
    if len(loops) != len(node.iter_vars):
        return ()
    axes = []
    for loop, iter_var in zip(loops, node.iter_vars, strict=True):
        if iter_var.iter_type not in (_SPATIAL, _REDUCTION):
            return ()
        extent = sch.get(loop).extent
        size = int(extent) if isinstance(extent, tirx.IntImm) else None
        axes.append(Axis(loop, iter_var.var, size, iter_var.iter_type == _REDUCTION))
    return tuple(axes)


def contiguous_axis(sch: Schedule, info: BlockInfo) -> Axis | None:
    """The axis along which the block writes neighbouring elements: the last index of what it writes."""
    writes = sch.get(info.block).writes
    if len(writes) == 0 or len(writes[0].region) == 0:
        return None
    last = writes[0].region[-1].min
    return next((axis for axis in info.spatial if axis.variable.same_as(last)), None)


def iterations(axes: tuple[Axis, ...]) -> int | None:
    """Product of the extents, None where one is symbolic."""
    total = 1
    for axis in axes:
        if axis.extent is None:
            return None
        total *= axis.extent
    return total


def element_bits(sch: Schedule, info: BlockInfo) -> int:
    """Width of the widest element that the block reads or writes."""
    node = sch.get(info.block)
    return max((region.source.dtype.bits for region in (*node.reads, *node.writes)), default=32)


def uses(expression: Expr, variable: Var) -> bool:
    """Whether ``variable`` occurs in ``expression``."""
    found: list[Var] = []
    structural_walk(expression, (Var, lambda v: found.append(v) if v.same_as(variable) else None))
    return bool(found)
