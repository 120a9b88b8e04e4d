"""Register tiles of kernels over packed activations: rows by columns of pixels, by vectors of channels.

One step of a reduction loads the vectors of weights, broadcasts a number for each pixel, and multiplies all with all.
LLVM loads everything that a step needs before it multiplies, so accumulators, weights and pixels share the registers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.loop_kinds import mark_vectorized
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.register_tile import tile_cycles
from lepton_compiler.targets.spec import TargetSpec

_MOST_PIXELS = 14
_MOST_VECTORS = 4
_SPARE_REGISTERS = 2
_PARTIAL_TILE = 1.2
"""Partial tiles run code of their own, which is seldom in the instruction cache."""
_TYPICAL_SIZE = 64
"""Stands for a number of rows or columns that is not known."""


@dataclass(frozen=True)
class PixelTile:
    """Pixels and vectors of one tile."""

    vectors: int
    rows: int
    columns: int

    def __str__(self) -> str:
        return f"tile_vectors={self.vectors} tile_rows={self.rows} tile_columns={self.columns}"


def default_pixel_tile(
    spec: TargetSpec, rows: int | None, columns: int | None, vectors: int, steps: int | None
) -> PixelTile:
    """The tile with the fewest estimated cycles, partial tiles at both ends included.

    Args:
        spec: Target, for registers and arithmetic rate.
        rows: Rows of the output, None where symbolic.
        columns: Columns of the output, None where symbolic.
        vectors: Vectors of output channels in all; the tile's divides it.
        steps: Length of the reduction, None where symbolic.
    """
    return min(
        pixel_tiles(spec, rows, columns, vectors),
        key=lambda tile: (_cycles(spec, tile, rows, columns, vectors, steps or 64), -tile.columns, tile.vectors),
    )


def pixel_tiles(spec: TargetSpec, rows: int | None, columns: int | None, vectors: int) -> list[PixelTile]:
    """Every tile that fits into the registers; the arguments are those of ``default_pixel_tile``."""
    return [
        PixelTile(width, height, across)
        for width in range(1, _MOST_VECTORS + 1)
        if vectors % width == 0
        for across in range(1, min(_MOST_PIXELS, columns or _MOST_PIXELS) + 1)
        for height in range(1, min(_MOST_PIXELS // across, rows or _MOST_PIXELS) + 1)
        if _fits(spec, height * across, width)
    ]


def _fits(spec: TargetSpec, pixels: int, vectors: int) -> bool:
    return pixels * vectors + vectors + pixels <= spec.vector_registers - _SPARE_REGISTERS


def _cycles(
    spec: TargetSpec, tile: PixelTile, rows: int | None, columns: int | None, vectors: int, steps: int
) -> float:
    total = 0.0
    for height, row_tiles in _pieces(rows or _TYPICAL_SIZE, tile.rows):
        for across, column_tiles in _pieces(columns or _TYPICAL_SIZE, tile.columns):
            cycles = tile_cycles(spec, height * across, tile.vectors, steps)
            is_partial = height * across < tile.rows * tile.columns
            total += row_tiles * column_tiles * cycles * (_PARTIAL_TILE if is_partial else 1)
    return total * (vectors // tile.vectors)


def _pieces(size: int, tile: int) -> list[tuple[int, int]]:
    whole, rest = divmod(size, tile)
    return [(tile, whole), *([(rest, 1)] if rest else [])]


def even_tile(spec: TargetSpec, rows: int, columns: int, vectors: int) -> PixelTile:
    """The tile with the fewest cycles a product, of those that divide a row, or are whole rows that divide all."""
    return min(
        even_tiles(spec, rows, columns, vectors),
        key=lambda tile: tile_cycles(spec, tile.columns, tile.vectors, 64) / tile.columns / tile.vectors,
    )


def even_tiles(spec: TargetSpec, rows: int, columns: int, vectors: int) -> list[PixelTile]:
    """Every tile that divides a row, or is whole rows that divide all."""
    return [
        PixelTile(width, 1, across)
        for width in range(1, _MOST_VECTORS + 1)
        for across in range(1, _MOST_PIXELS + 1)
        if vectors % width == 0 and (columns % across == 0 or (across % columns == 0 and rows * columns % across == 0))
        if _fits(spec, across, width)
    ]


def even_chunks(tiles: int, wanted: int) -> int:
    """A number of chunks of at least ``wanted`` that divides the tiles evenly, where there is one near."""
    wanted = min(max(wanted, 1), tiles)
    near = range(wanted, min(2 * wanted, tiles) + 1)
    return next((chunks for chunks in near if tiles % chunks == 0), wanted)


def split_tiles(sch: Schedule, loop: LoopRV, chunks: int, size: int) -> tuple[LoopRV, LoopRV, LoopRV]:
    """Splits a loop into chunks of tiles of ``size``; a partial last tile gets code of its own."""
    extent = sch.get(loop).extent
    tile, inner = sch.split(loop, [None, size])
    chunk, tile = sch.split(tile, [chunks, None])
    if not isinstance(extent, tirx.IntImm) or int(extent) % size or math.ceil(int(extent) / size) % chunks:
        peel_tail(sch, tile)
    return chunk, tile, inner


def loops_below(sch: Schedule, block: SBlockRV, tile: LoopRV) -> list[LoopRV]:
    """The loops of a block inside of ``tile``, outermost first."""
    loops = sch.get_loops(block)
    position = next(i for i, loop in enumerate(loops) if sch.get(loop).same_as(sch.get(tile)))
    return list(loops[position + 1 :])


def sum_in_registers(sch: Schedule, sums: SBlockRV, tile: LoopRV, reductions: int, unrolled: int = 0) -> None:
    """Moves sums into the tile, the reduction outside of pixels and vectors, so that they stay in registers.

    Args:
        sch: The schedule.
        sums: The block; its last spatial axis is that of lanes.
        tile: The loop over the tiles.
        reductions: Number of reduction axes.
        unrolled: How many of the innermost reduction loops are unrolled.
    """
    sch.compute_at(sums, tile, preserve_unit_loops=True)
    sch.set_scope(sums, 0, "local")
    inner = loops_below(sch, sums, tile)
    *place, lane = inner[: len(inner) - reductions]
    steps = inner[len(inner) - reductions :]
    sch.reorder(*steps, *place, lane)
    mark_vectorized(sch, lane)
    for loop in (*place, *steps[len(steps) - unrolled :]):
        sch.unroll(loop)
    sch.decompose_reduction(sums, steps[0])


def vectorize_tile(sch: Schedule, output: SBlockRV, tile: LoopRV) -> None:
    """The epilogue on a tile: every loop inside of it unrolled, the channels of a vector as lanes."""
    *place, lane = loops_below(sch, output, tile)
    mark_vectorized(sch, lane)
    for loop in place:
        sch.unroll(loop)
