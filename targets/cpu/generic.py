"""A schedule for every PrimFunc: spatial loops parallel, the contiguous axis in vector lanes, reductions in between.

It asks of a block only what TVM's own checks ask: axes that are independent or a commutative reduction. A block with
neither (a scan, a sort, code that an extern stage wrote by hand) keeps its loops as they are.
"""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from lepton_compiler.targets.cpu.block_analysis import Axis, BlockInfo, contiguous_axis, iterations, root_blocks
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.parallel_grain import is_worth_sharing, parallelize_outer
from lepton_compiler.targets.spec import TargetSpec


def schedule_generic(sch: Schedule, spec: TargetSpec) -> str:
    """Schedules every stage of the function on its own and says what became of each."""
    return "; ".join(f"{info.name}: {schedule_stage(sch, info, spec)}" for info in root_blocks(sch)) or "as written"


def schedule_other_stages(sch: Schedule, done: set[str], spec: TargetSpec) -> list[str]:
    """Schedules the stages whose names are not in ``done``: what stands before and behind an anchor."""
    others = [info for info in root_blocks(sch) if info.name not in done]
    return [f"{info.name}: {schedule_stage(sch, info, spec)}" for info in others]


def schedule_stage(sch: Schedule, info: BlockInfo, spec: TargetSpec) -> str:
    """Schedules one block; returns what was done, for the manifest."""
    if info.is_opaque:
        return "as written"
    share = is_worth_sharing(info.axes)
    lanes_axis = _vector_axis(sch, info)
    lanes = spec.vector_lanes(_element_bits(sch, info))
    words = []
    outer = [axis.loop for axis in info.spatial if axis is not lanes_axis]
    inner = [axis.loop for axis in info.reductions]
    if lanes_axis is not None and lanes > 1:
        blocks, lane = sch.split(lanes_axis.loop, [None, lanes])
        sch.reorder(*outer, blocks, *inner, lane)
        sch.vectorize(lane)
        if lanes_axis.extent is None or lanes_axis.extent % lanes:
            peel_tail(sch, blocks)
        words.append(f"vectors of {lanes}")
        if not outer:
            outer = [blocks] if lanes_axis.extent is not None and lanes_axis.extent % lanes == 0 else []
    elif inner and outer:
        sch.reorder(*outer, *inner)
    if share and outer and parallelize_outer(sch, outer) is not None:
        words.append("parallel")
    if inner and (words or outer):
        sch.decompose_reduction(info.block, inner[0])
    return " ".join(words) or "serial"


def _vector_axis(sch: Schedule, info: BlockInfo) -> Axis | None:
    """The contiguous axis, unless it is too short for a vector."""
    axis = contiguous_axis(sch, info)
    if axis is None or (axis.extent is not None and axis.extent < 4):
        return None
    return axis


def _element_bits(sch: Schedule, info: BlockInfo) -> int:
    """Width of the widest element that the block reads or writes."""
    node = sch.get(info.block)
    return max(region.source.dtype.bits for region in (*node.reads, *node.writes))
