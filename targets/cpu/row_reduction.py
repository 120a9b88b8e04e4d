"""Softmax, layer normalisation, means: stages that reduce along rows and stages that walk the rows again.

    for row                                        parallel
      for each reducing stage
        partial[chain * lanes] over the row        vectors, several independent chains
        lane[lanes] = reduce partial over chains   vectors
        result = reduce lane
      for each elementwise stage: vectors along the row

All stages of a row run while it is in the core's nearest cache. A sum is taken in chains times lanes parts, so its
order differs from a plain loop's; the rounding error of a long sum becomes smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV
from tvm_ffi import structural_equal

from lepton_compiler.targets.cpu.block_analysis import Axis, BlockInfo, element_bits, iterations, root_blocks
from lepton_compiler.targets.cpu.inlining import inline_elementwise
from lepton_compiler.targets.cpu.knobs import KnobChooser, choose
from lepton_compiler.targets.cpu.loop_kinds import mark_parallel, mark_vectorized
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.parallel_grain import is_worth_sharing
from lepton_compiler.targets.spec import TargetSpec

_CHAINS = 4
"""Partial results in flight, to hide the latency of an addition."""


_CANDIDATE_CHAINS = (1, 2, 4, 8)


@dataclass(frozen=True)
class RowReductionKnobs:
    """What can be chosen.

    Attributes:
        lanes: Elements of one vector.
        chains: Independent vectors of partial results.
    """

    lanes: int
    chains: int

    def __str__(self) -> str:
        return f"lanes={self.lanes} chains={self.chains}"


def default_knobs(row: int | None, lanes: int) -> RowReductionKnobs:
    """Full vectors; several chains where the row is long enough to fill them a few times."""
    return RowReductionKnobs(lanes, _CHAINS if row is None or row >= 2 * _CHAINS * lanes else 1)


def candidate_knobs(row: int | None, lanes: int) -> Iterator[RowReductionKnobs]:
    """What may be better: narrower vectors, and fewer or more chains."""
    for width in (lanes, lanes // 2):
        for chains in _CANDIDATE_CHAINS:
            if width >= 1 and (row is None or chains == 1 or row >= 2 * chains * width):
                yield RowReductionKnobs(width, chains)


def row_axes(sch: Schedule, infos: list[BlockInfo]) -> int | None:
    """How many leading axes all stages share as rows, None where the function is not of this kind."""
    reductions = [info for info in infos if info.is_reduction]
    if not reductions or any(info.is_opaque for info in infos):
        return None
    rows = len(reductions[0].spatial)
    if rows == 0 or any(len(info.spatial) != rows or not _reduces_neighbours(sch, info) for info in reductions):
        return None
    shared = infos[-1].axes[:rows]
    stages = [buffer for info in infos for buffer in _written(sch, info)]
    fits = all(_starts_with(sch, info, shared) and _stays_in_row(sch, info, rows, stages) for info in infos)
    return rows if fits else None


def _reduces_neighbours(sch: Schedule, info: BlockInfo) -> bool:
    """Whether the reduction is one number a row, over neighbouring elements."""
    node = sch.get(info.block)
    last = info.reductions[-1].variable
    walks = any(len(region.region) > 0 and region.region[-1].min.same_as(last) for region in node.reads)
    is_suffix = all(axis.is_reduction for axis in info.axes[len(info.spatial) :])
    return len(node.writes) == 1 and walks and is_suffix


def _starts_with(sch: Schedule, info: BlockInfo, shared: tuple[Axis, ...]) -> bool:
    own = info.axes[: len(shared)]
    if len(own) < len(shared) or any(axis.is_reduction for axis in own):
        return False
    extents = [(sch.get(a.loop).extent, sch.get(b.loop).extent) for a, b in zip(own, shared, strict=True)]
    return all(structural_equal(a, b) for a, b in extents)


def _written(sch: Schedule, info: BlockInfo) -> list[ir.Expr]:
    return [region.source for region in sch.get(info.block).writes]


def _stays_in_row(sch: Schedule, info: BlockInfo, rows: int, stages: list[ir.Expr]) -> bool:
    """Whether a stage touches its own row only of what the stages compute.

    Equal extents are not enough: a grouped convolution has as many input channels as output channels, and reads others.
    """
    node = sch.get(info.block)
    for region in (*node.reads, *node.writes):
        if any(region.source.same_as(buffer) for buffer in stages):
            places = region.region[:rows]
            own = zip(info.axes, places, strict=False)
            if len(places) < rows or not all(axis.extent == 1 or _is_place(place, axis) for axis, place in own):
                return False
    return True


def _is_place(place: ir.Range, axis: Axis) -> bool:
    is_one = isinstance(place.extent, tirx.IntImm) and int(place.extent) == 1
    return is_one and place.min.same_as(axis.variable)


def schedule_row_reduction(
    sch: Schedule, spec: TargetSpec, knobs: RowReductionKnobs | KnobChooser | None = None
) -> tuple[Schedule, str]:
    """Schedules a function that ``row_axes`` knows once its elementwise stages are inlined.

    Returns:
        The schedule to go on with and the knob values in words.
    """
    inline_elementwise(sch)
    infos = root_blocks(sch)
    rows = row_axes(sch, infos) or 0
    lanes = min(spec.vector_lanes(max(element_bits(sch, info), 8)) for info in infos)
    lengths = [iterations(info.reductions) for info in infos if info.is_reduction]
    longest = None if None in lengths else max(lengths)
    chosen = choose(knobs, default_knobs(longest, lanes), lambda: candidate_knobs(longest, lanes))
    share = any(is_worth_sharing(info.axes) for info in infos)
    # Each reduction is split and decomposed before the next is touched, and conditions on elementwise stages come last:
    # TVM takes no stage for a reduction that stands behind one that was split with a condition.
    for info in infos:
        if rows > 1:
            sch.fuse(*[axis.loop for axis in info.axes[:rows]])
        if info.is_reduction:
            _reduce_in_partials(sch, info, chosen)
    for info in infos:
        if not info.is_reduction and len(info.axes) > rows:
            _vectorize_along_row(sch, info, chosen.lanes)
    row = _merge_rows(sch)
    if share:
        mark_parallel(sch, row)
    return sch, f"{chosen} parallel" if share else str(chosen)


def _reduce_in_partials(sch: Schedule, info: BlockInfo, knobs: RowReductionKnobs) -> None:
    """Gives each vector lane and chain a partial result of its own; a row too short for that stays as it is."""
    length = iterations(info.reductions)
    if length is not None and length < 2 * knobs.lanes:
        return
    chains = 1 if length is not None and length < 2 * knobs.lanes * knobs.chains else knobs.chains
    loops = sch.get_loops(info.block)[1:]
    along = sch.fuse(*loops) if len(loops) > 1 else loops[0]
    along, part = sch.split(along, [None, chains * knobs.lanes])
    partials = sch.rfactor(part, len(info.spatial))
    _, along, part = sch.get_loops(partials)
    mark_vectorized(sch, part)
    peel_tail(sch, along)
    # Apart from the sums, because a lane beyond the end of a short row needs its initial value too.
    sch.decompose_reduction(partials, along)
    if chains > 1:
        *_, part = sch.get_loops(info.block)
        _, lane = sch.split(part, [chains, knobs.lanes])
        mark_vectorized(sch, sch.get_loops(sch.rfactor(lane, len(info.spatial)))[-1])


def _vectorize_along_row(sch: Schedule, info: BlockInfo, lanes: int) -> None:
    last = info.axes[-1]
    is_short = last.extent is not None and last.extent < lanes
    if not is_short and sch.get(info.block).writes[0].region[-1].min.same_as(last.variable):
        vectors, lane = sch.split(last.loop, [None, lanes])
        mark_vectorized(sch, lane)
        peel_tail(sch, vectors)


def _merge_rows(sch: Schedule) -> LoopRV:
    """Puts all stages below one loop over the rows."""
    loops: list[LoopRV] = []
    for info in root_blocks(sch):
        row = sch.get_loops(info.block)[0]
        if not any(sch.get(row).same_as(sch.get(other)) for other in loops):
            loops.append(row)
    return sch.merge(*loops) if len(loops) > 1 else loops[0]
