"""Depthwise convolution: a register tile of output rows by one or two vectors of neighbouring columns.

    for n, channel                                  parallel
      planes = bordered input of this channel        stays in the core's cache
      for tile of rows, tile of columns
        sums[rows, vectors, lanes] = 0               in registers
        for taps                                     unrolled
          sums[row, vector, :] += planes[row + tap] * weight[tap]
        output = epilogue(sums)                      contiguous vector stores

The definition is in ``passes/lowering/depthwise_compute.py``. An odd width ends in one narrower vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, iterations
from lepton_compiler.targets.cpu.epilogue import find_anchor, gather_epilogue
from lepton_compiler.targets.cpu.generic import schedule_other_stages
from lepton_compiler.targets.cpu.knobs import KnobChooser, choose
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.parallel_grain import is_worth_sharing
from lepton_compiler.targets.spec import TargetSpec

_MOST_UNROLLED_TAPS = 25
"""A 5 by 5 kernel; larger ones keep their rows of taps as a loop."""
_ROWS_OF_UNKNOWN_HEIGHT = 4


_MOST_TILE_VECTORS = 4


@dataclass(frozen=True)
class DepthwiseKnobs:
    """What can be chosen.

    Attributes:
        tile_rows: Output rows of a register tile.
        tile_vectors: Vectors of neighbouring columns of a register tile.
    """

    tile_rows: int
    tile_vectors: int

    def __str__(self) -> str:
        return f"tile_rows={self.tile_rows} tile_vectors={self.tile_vectors}"


def default_knobs(rows: int | None, columns: int | None, spec: TargetSpec) -> DepthwiseKnobs:
    """Half of the registers as accumulators: enough independent chains, and the rest holds inputs and weights."""
    accumulators = spec.vector_registers // 2
    lanes = spec.vector_lanes()
    vectors = 2 if columns is not None and columns % (2 * lanes) == 0 else 1
    most = accumulators // vectors
    if rows is None:
        return DepthwiseKnobs(min(_ROWS_OF_UNKNOWN_HEIGHT, most), vectors)
    tiles = -(-rows // most)
    return DepthwiseKnobs(-(-rows // tiles), vectors)


def candidate_knobs(rows: int | None, columns: int | None, spec: TargetSpec) -> Iterator[DepthwiseKnobs]:
    """What may be better: every tile that leaves registers for inputs and weights."""
    most = spec.vector_registers * 3 // 4
    widest = _MOST_TILE_VECTORS if columns is None else max(1, -(-columns // spec.vector_lanes()))
    for vectors in range(1, min(widest, _MOST_TILE_VECTORS) + 1):
        for height in range(1, min(most // vectors, rows or most) + 1):
            yield DepthwiseKnobs(height, vectors)


def schedule_depthwise(
    sch: Schedule, spec: TargetSpec, knobs: DepthwiseKnobs | KnobChooser | None = None
) -> tuple[Schedule, str]:
    """Applies the schedule; returns the schedule to go on with and the knob values in words."""
    info = find_anchor(sch, "depthwise_convolution")
    lanes = spec.vector_lanes()
    stride = int(sch.get(info.block).annotations["lepton.stride"])
    (planes,) = sch.get_producers(info.block)
    share = is_worth_sharing(info.axes)
    output = gather_epilogue(sch, info.block)
    notes = schedule_other_stages(sch, {info.name, output.name, sch.get(planes).name_hint}, spec)
    rows = output.axes[-2].extent if len(output.axes) > 3 else 1
    columns = output.axes[-1].extent
    chosen = choose(knobs, default_knobs(rows, columns, spec), lambda: candidate_knobs(rows, columns, spec))
    plane, tile = _tile_output(sch, output, chosen, lanes, share=share)
    _sum_in_registers(sch, info, tile, lanes)
    _vectorize_epilogue(sch, output.block)
    _copy_plane(sch, planes, plane, stride)
    return sch, "; ".join([str(chosen), *notes])


def _tile_output(
    sch: Schedule, output: BlockInfo, knobs: DepthwiseKnobs, lanes: int, *, share: bool
) -> tuple[LoopRV, LoopRV]:
    """Splits the output into tiles; returns the loop over planes and the one over a row of tiles."""
    batch, channel, *upper, column = [axis.loop for axis in output.axes]
    columns = output.axes[-1].extent
    column_tile, vector, lane = sch.split(column, [None, knobs.tile_vectors, lanes])
    if upper:
        row_tile, row = sch.split(upper[-1], [None, knobs.tile_rows])
        sch.reorder(*upper[:-1], row_tile, column_tile, row, vector, lane)
        if output.axes[-2].extent is None or output.axes[-2].extent % knobs.tile_rows:
            peel_tail(sch, row_tile)
    if columns is None or columns % (knobs.tile_vectors * lanes):
        peel_tail(sch, column_tile)
    plane = sch.fuse(batch, channel)
    if share:
        sch.parallel(plane)
    return plane, column_tile


def _sum_in_registers(sch: Schedule, info: BlockInfo, tile: LoopRV, lanes: int) -> None:
    sch.compute_at(info.block, tile, preserve_unit_loops=True)
    sch.set_scope(info.block, 0, "local")
    loops = sch.get_loops(info.block)
    taps = loops[-len(info.reductions) :]
    *rows, column = loops[-len(info.axes) + 2 : -len(info.reductions)]
    vector, lane = sch.split(column, [None, lanes])
    sch.reorder(*taps, *rows, vector, lane)
    sch.vectorize(lane)
    for loop in (*rows, vector):
        sch.unroll(loop)
    if (iterations(info.reductions) or 0) <= _MOST_UNROLLED_TAPS:
        for tap in taps:
            sch.unroll(tap)
    else:
        sch.unroll(taps[-1])
    sch.decompose_reduction(info.block, taps[0])


def _vectorize_epilogue(sch: Schedule, output: SBlockRV) -> None:
    *_, row, vector, lane = sch.get_loops(output)
    sch.vectorize(lane)
    sch.unroll(vector)
    sch.unroll(row)


def _copy_plane(sch: Schedule, planes: SBlockRV, plane: LoopRV, stride: int) -> None:
    """Copies one channel at a time, the border apart from the inside, so that neither needs a condition.

    Columns are sorted by their remainder modulo the stride: outputs in neighbouring lanes then read neighbours.
    """
    sch.compute_at(planes, plane, preserve_unit_loops=True)
    first = sch.get_loops(planes)[1]
    if sch.can_decompose_padding(planes, first):
        sch.decompose_padding(planes, first)
    if stride > 1:
        sch.transform_layout(
            planes, ("write", 0), lambda *index: [*index[:-1], index[-1] % stride, index[-1] // stride]
        )
