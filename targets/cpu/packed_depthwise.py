"""Depthwise convolution of packed activations: a register tile of pixels of one vector of channels.

    for n, block of channels, chunk of rows              parallel
      padded = input of the chunk with its border         stays in the core's cache
      for tile of rows, tile of columns
        sums[rows, columns, lanes] = 0                    in registers
        for taps                                          unrolled
          sums[row, column, :] += padded[row + tap, column + tap, :] * weight[tap, :]
        output = epilogue(sums)                           contiguous vectors

The definition is in ``passes/lowering/packed_convolution_computes.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.block_analysis import iterations
from lepton_compiler.targets.cpu.epilogue import find_anchor, gather_epilogue
from lepton_compiler.targets.cpu.generic import schedule_other_stages
from lepton_compiler.targets.cpu.parallel_grain import is_worth_sharing
from lepton_compiler.targets.cpu.pixel_tile import even_chunks, split_tiles, sum_in_registers, vectorize_tile
from lepton_compiler.targets.spec import TargetSpec

_MOST_UNROLLED_TAPS = 9
"""A 3 by 3 kernel; of larger ones only a row of taps is unrolled."""
_TYPICAL_ROWS = 32


@dataclass(frozen=True)
class PackedDepthwiseKnobs:
    """What can be chosen.

    Attributes:
        tile_rows: Output rows of a register tile.
        tile_columns: Output columns of a register tile.
        chunks: Pieces that the rows are cut into; the border is copied for one at a time.
    """

    tile_rows: int
    tile_columns: int
    chunks: int

    def __str__(self) -> str:
        return f"tile_rows={self.tile_rows} tile_columns={self.tile_columns} chunks={self.chunks}"


def default_knobs(
    rows: int | None, columns: int | None, row_bytes: int | None, spec: TargetSpec
) -> PackedDepthwiseKnobs:
    """A third of the registers as accumulators, and chunks whose input stays in half of the nearest cache.

    Args:
        rows: Output rows, None where symbolic.
        columns: Output columns, None where symbolic.
        row_bytes: Input bytes that one output row advances by, None where symbolic.
        spec: The target.
    """
    accumulators = max(2, spec.vector_registers // 3)
    across = min(accumulators, columns or accumulators)
    across = next(
        (size for size in range(across, across // 2, -1) if columns is not None and columns % size == 0), across
    )
    height = max(1, min(accumulators // across, rows or 1))
    tiles = math.ceil((rows or _TYPICAL_ROWS) / height)
    wanted = 1 if row_bytes is None else math.ceil(tiles * height * row_bytes / (spec.l1_data_bytes // 2))
    return PackedDepthwiseKnobs(height, across, even_chunks(tiles, wanted))


def schedule_packed_depthwise(
    sch: Schedule, spec: TargetSpec, knobs: PackedDepthwiseKnobs | None = None
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
    chosen = knobs or default_knobs(rows, columns, _row_bytes(sch, info.block, rows), spec)
    chunk, tile = _tile_output(sch, output.block, chosen, share=share)
    taps = iterations(info.reductions) or 0
    unrolled = len(info.reductions) if taps <= _MOST_UNROLLED_TAPS else 1
    sum_in_registers(sch, info.block, tile, len(info.reductions), unrolled)
    vectorize_tile(sch, output.block, tile)
    for block in bordered:
        _copy_chunk(sch, block, chunk)
    return sch, "; ".join([str(chosen), *notes])


def _row_bytes(sch: Schedule, sums: SBlockRV, rows: int | None) -> int | None:
    """Bytes of one block's input divided by its output rows."""
    data = sch.get(sums).reads[0].source
    sizes = [int(size) if hasattr(size, "value") else None for size in list(data.shape)[2:]]
    return None if None in sizes or rows is None else math.prod(sizes) * 4 // rows


def _tile_output(sch: Schedule, output: SBlockRV, knobs: PackedDepthwiseKnobs, *, share: bool) -> tuple[LoopRV, LoopRV]:
    """Splits the output into tiles; returns the loop over chunks and the one over the tiles of a row."""
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
    return fused, column_tile


def _copy_chunk(sch: Schedule, bordered: SBlockRV, chunk: LoopRV) -> None:
    """Copies the input of one chunk with its border."""
    sch.compute_at(bordered, chunk, preserve_unit_loops=True)
    sch.vectorize(sch.get_loops(bordered)[-1])
