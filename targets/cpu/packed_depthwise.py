"""Depthwise convolution of packed activations: a register tile of pixels of one vector of channels.

    for n, block of channels, chunk of rows              parallel
      for tile of rows, tile of columns
        sums[rows, columns, lanes] = 0                    in registers
        for taps                                          unrolled
          sums[row, column, :] += input[row + tap, column + tap, :] * weight[tap, :]    0 outside of the image
        output = epilogue(sums)                           contiguous vectors

The definition is in ``passes/lowering/packed_convolution_computes.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.block_analysis import iterations
from lepton_compiler.targets.cpu.epilogue import find_anchor, gather_epilogue
from lepton_compiler.targets.cpu.generic import schedule_other_stages
from lepton_compiler.targets.cpu.knobs import CHUNK_FACTORS, KnobChooser, choose
from lepton_compiler.targets.cpu.parallel_grain import is_worth_sharing
from lepton_compiler.targets.cpu.pixel_tile import even_chunks, split_tiles, sum_in_registers, vectorize_tile
from lepton_compiler.targets.spec import TargetSpec

_MOST_UNROLLED_TAPS = 9
"""A 3 by 3 kernel; of larger ones only a row of taps is unrolled."""
_TYPICAL_ROWS = 32
_MOST_TILE_ROWS = 4
_PIECES = 16
"""Parallel pieces that a layer is cut into."""


@dataclass(frozen=True)
class PackedDepthwiseKnobs:
    """What can be chosen.

    Attributes:
        tile_rows: Output rows of a register tile.
        tile_columns: Output columns of a register tile.
        chunks: Pieces that the rows are cut into, for cores.
    """

    tile_rows: int
    tile_columns: int
    chunks: int

    def __str__(self) -> str:
        return f"tile_rows={self.tile_rows} tile_columns={self.tile_columns} chunks={self.chunks}"


def default_knobs(
    rows: int | None, columns: int | None, planes: int | None, taps: int, spec: TargetSpec
) -> PackedDepthwiseKnobs:
    """A part of the registers as accumulators, and enough chunks for the cores.

    Args:
        rows: Output rows, None where symbolic.
        columns: Output columns, None where symbolic.
        planes: Vectors of channels of all images, None where symbolic.
        taps: Elements of the kernel.
        spec: The target.
    """
    # Where all taps are unrolled, their weights stay in registers too.
    accumulators = spec.vector_registers // (4 if taps <= _MOST_UNROLLED_TAPS else 3)
    height, across = _tile(rows, columns, max(2, accumulators))
    return PackedDepthwiseKnobs(height, across, _chunks(rows, height, planes))


def candidate_knobs(
    rows: int | None, columns: int | None, planes: int | None, spec: TargetSpec
) -> Iterator[PackedDepthwiseKnobs]:
    """What may be better: every tile that leaves registers for weights, with as many pieces as the cores need and more.

    The arguments are those of ``default_knobs``.
    """
    most = spec.vector_registers // 2
    for height in range(1, min(most, rows or _TYPICAL_ROWS, _MOST_TILE_ROWS) + 1):
        for across in range(1, min(most // height, columns or most) + 1):
            for factor in CHUNK_FACTORS:
                yield PackedDepthwiseKnobs(height, across, _chunks(rows, height, planes, factor))


def _chunks(rows: int | None, height: int, planes: int | None, factor: int = 1) -> int:
    """Pieces of the rows, so that there are about ``factor * _PIECES`` with those of the channels."""
    tiles = math.ceil((rows or _TYPICAL_ROWS) / height)
    return even_chunks(tiles, math.ceil(factor * _PIECES / (planes or 1)))


def _tile(rows: int | None, columns: int | None, accumulators: int) -> tuple[int, int]:
    """Rows and columns of a register tile, of columns that divide a row where there are such."""
    across = min(accumulators, columns or accumulators)
    across = next(
        (size for size in range(across, across // 2, -1) if columns is not None and columns % size == 0), across
    )
    return max(1, min(accumulators // across, rows or 1)), across


def schedule_packed_depthwise(
    sch: Schedule, spec: TargetSpec, knobs: PackedDepthwiseKnobs | KnobChooser | None = None
) -> tuple[Schedule, str]:
    """Applies the schedule; returns the schedule to go on with and the knob values in words."""
    info = find_anchor(sch, "packed_depthwise")
    share = is_worth_sharing(info.axes)
    bordered = [block for block in sch.get_producers(info.block) if sch.get(block).name_hint == "bordered_input"]
    output = gather_epilogue(sch, info.block)
    done = {info.name, output.name, *(sch.get(block).name_hint for block in bordered)}
    notes = schedule_other_stages(sch, done, spec)
    *place, _ = (axis.extent for axis in info.spatial[2:])
    rows, columns = (place[-2] if len(place) > 1 else 1), place[-1]
    taps = iterations(info.reductions) or 0
    planes = iterations(info.spatial[:2])
    default = default_knobs(rows, columns, planes, taps, spec)
    chosen = choose(knobs, default, lambda: candidate_knobs(rows, columns, planes, spec))
    tile = _tile_output(sch, output.block, chosen, share=share)
    for block in bordered:
        # The conditions cost less than a copy: they are the same for all lanes, and true away from the border.
        sch.compute_inline(block)
    unrolled = len(info.reductions) if taps <= _MOST_UNROLLED_TAPS else 1
    sum_in_registers(sch, info.block, tile, len(info.reductions), unrolled)
    vectorize_tile(sch, output.block, tile)
    return sch, "; ".join([str(chosen), *notes])


def _tile_output(sch: Schedule, output: SBlockRV, knobs: PackedDepthwiseKnobs, *, share: bool) -> LoopRV:
    """Splits the output into tiles; returns the loop over the tiles of a row."""
    batch, block, *upper, column, lane = sch.get_loops(output)
    if upper:
        chunk, row_tile, row = split_tiles(sch, upper.pop(), knobs.chunks, knobs.tile_rows)
        whole, column_tile, column = split_tiles(sch, column, 1, knobs.tile_columns)
        sch.reorder(batch, block, *upper, chunk, row_tile, whole, column_tile, row, column, lane)
    else:
        chunk, column_tile, column = split_tiles(sch, column, 1, knobs.tile_columns)
    fused = sch.fuse(batch, block, *upper, chunk)
    if share:
        sch.parallel(fused)
    return column_tile
