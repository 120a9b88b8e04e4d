"""A schedule for every PrimFunc: spatial loops parallel, the contiguous axis in vector lanes, reductions in between.

It asks of a block only what TVM's own checks ask: axes that are independent or a commutative reduction. A block with
neither (a scan, a sort, code that an extern stage wrote by hand) keeps its loops as they are.
"""

from __future__ import annotations

from tvm.s_tir import Schedule

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, contiguous_axis, element_bits, root_blocks
from lepton_compiler.targets.cpu.elementwise import SHORTEST_VECTOR_LOOP, schedule_elementwise
from lepton_compiler.targets.cpu.inlining import inline_elementwise
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.parallel_grain import is_worth_sharing, parallelize_outer
from lepton_compiler.targets.cpu.window_border import border_of, move_border
from lepton_compiler.targets.spec import TargetSpec


def schedule_generic(sch: Schedule, spec: TargetSpec) -> str:
    """Schedules every stage of the function and says what became of each."""
    return "; ".join(schedule_other_stages(sch, set(), spec)) or "as written"


def schedule_other_stages(sch: Schedule, done: set[str], spec: TargetSpec) -> list[str]:
    """Schedules the stages whose names are not in ``done``: what stands before and behind an anchor."""
    inline_elementwise(sch, keep=done)
    others = [info for info in root_blocks(sch) if info.name not in done]
    words: list[str] = []
    # From the last to the first: a reduction may take the stage that copies its border into its own loops.
    for before in reversed(others):
        info = next(info for info in root_blocks(sch) if info.name == before.name)
        if before.is_opaque or not info.is_opaque:
            words.append(f"{info.name}: {schedule_stage(sch, info, spec)}")
    return words[::-1]


def schedule_stage(sch: Schedule, info: BlockInfo, spec: TargetSpec) -> str:
    """Schedules one block; returns what was done, for the manifest."""
    if info.is_opaque:
        return "as written"
    if any(axis.extent == 0 for axis in info.axes):
        return "nothing to do"
    if info.is_reduction:
        return _schedule_reduction(sch, info, spec)
    return schedule_elementwise(sch, info, spec)


def _schedule_reduction(sch: Schedule, info: BlockInfo, spec: TargetSpec) -> str:
    """Reductions outside of a vector of neighbouring results; without such a vector, one result after the other."""
    axis = contiguous_axis(sch, info)
    lanes = spec.vector_lanes(max(element_bits(sch, info), 8))
    outer = [other.loop for other in info.spatial if other is not axis]
    inner = [other.loop for other in info.reductions]
    vectorized = axis is not None and (axis.extent is None or axis.extent >= SHORTEST_VECTOR_LOOP)
    if vectorized:
        vectors, lane = sch.split(axis.loop, [None, lanes])
        sch.reorder(*outer, vectors, *inner, lane)
        sch.vectorize(lane)
        if axis.extent is None or axis.extent % lanes:
            peel_tail(sch, vectors)
        elif not outer:
            outer = [vectors]
    else:
        outer = [other.loop for other in info.spatial]
        sch.reorder(*outer, *inner)
    border = border_of(sch, info, lanes)
    shared = parallelize_outer(sch, outer) if is_worth_sharing(info.axes) and outer else None
    words = [f"vectors of {lanes}" if vectorized else "scalar", *(["parallel"] if shared is not None else [])]
    if border is not None and shared is not None:
        words.append(move_border(sch, border, shared, lanes))
    sch.decompose_reduction(info.block, inner[0])
    return " ".join(words)
