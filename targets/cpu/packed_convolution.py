"""Convolution of packed activations: a register tile of output pixels by vectors of output channels.

    for n, group of output vectors, chunk of rows          parallel
      for tile of rows, tile of columns
        sums[vectors, rows, columns, lanes] = 0             in registers
        for chunk of channels, taps, channel                the reduction
          for row, column, vector                           unrolled
            sums[vector, row, column, :] += input[row, column, channel] * weight[vector, channel, taps, :]
        output = epilogue(sums)                             contiguous vectors

The channels that a pixel's broadcasts read are neighbours, so a cache line serves ``v`` steps of the reduction. Pixels
of a pointwise convolution count as one row. The definition is in ``passes/lowering/packed_convolution_computes.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, iterations
from lepton_compiler.targets.cpu.epilogue import find_anchor, gather_epilogue
from lepton_compiler.targets.cpu.generic import schedule_other_stages
from lepton_compiler.targets.cpu.joined_axes import join_axes
from lepton_compiler.targets.cpu.knobs import CHUNK_FACTORS, KnobChooser, choose
from lepton_compiler.targets.cpu.pixel_tile import (
    PixelTile,
    default_pixel_tile,
    even_chunks,
    pixel_tiles,
    split_tiles,
    sum_in_registers,
    vectorize_tile,
)
from lepton_compiler.targets.cpu.prefetch_pixels import PixelTiles, prefetch_pixels
from lepton_compiler.targets.cpu.prefetch_weights import prefetch_weights
from lepton_compiler.targets.cpu.summing_loops import TilePosition
from lepton_compiler.targets.spec import TargetSpec

_PIECES = 16
"""Parallel pieces that a large convolution is cut into: four for each of four cores."""
_WORTH_SHARING = 1 << 18
"""Multiply-adds below which one core is faster alone."""
_FEWEST_STEPS = 8
"""Steps between prefetches: sums that LLVM keeps in memory are stored before each one. A first layer has one step."""


@dataclass(frozen=True)
class PackedConvolutionKnobs:
    """What can be chosen.

    Attributes:
        tile: Pixels and vectors of a register tile.
        chunks: Pieces that the rows are cut into.
    """

    tile: PixelTile
    chunks: int

    def __str__(self) -> str:
        return f"{self.tile} chunks={self.chunks}"


def default_knobs(info: BlockInfo, groups: int, spec: TargetSpec) -> PackedConvolutionKnobs:
    """The closed form: fewest estimated cycles in a tile, then enough pieces for the cores."""
    rows, columns = _rows_and_columns(info)
    tile = default_pixel_tile(spec, rows, columns, _blocks(info) // groups, iterations(info.reductions))
    return PackedConvolutionKnobs(tile, _chunks(info, tile))


def candidate_knobs(info: BlockInfo, groups: int, spec: TargetSpec) -> Iterator[PackedConvolutionKnobs]:
    """What may be better: every tile that fits, with as many pieces as the cores need and more."""
    rows, columns = _rows_and_columns(info)
    for tile in pixel_tiles(spec, rows, columns, _blocks(info) // groups):
        for factor in CHUNK_FACTORS:
            yield PackedConvolutionKnobs(tile, _chunks(info, tile, factor))


def _blocks(info: BlockInfo) -> int:
    blocks = info.spatial[1].extent
    assert blocks is not None, "channels are known"
    return blocks


def _rows_and_columns(info: BlockInfo) -> tuple[int | None, int | None]:
    _, _, *place, _ = (axis.extent for axis in info.spatial)
    return (place[-2] if len(place) > 1 else 1), place[-1]


def _chunks(info: BlockInfo, tile: PixelTile, factor: int = 1) -> int:
    """Pieces of the rows, so that there are about ``factor * _PIECES`` with those of the output vectors."""
    batch, _, *place, _ = (axis.extent for axis in info.spatial)
    pieces = (batch or 1) * _blocks(info) // tile.vectors
    split, height = (place[-2], tile.rows) if len(place) > 1 else (place[-1], tile.columns)
    tiles = _PIECES if split is None else math.ceil(split / height)
    return even_chunks(tiles, math.ceil(factor * _PIECES / pieces))


def schedule_packed_convolution(
    sch: Schedule, spec: TargetSpec, knobs: PackedConvolutionKnobs | KnobChooser | None = None
) -> tuple[Schedule, str]:
    """Applies the schedule; returns the schedule to go on with and the knob values in words."""
    info = find_anchor(sch, "packed_convolution")
    groups = int(sch.get(info.block).annotations.get("lepton.groups", 1))
    chosen = choose(knobs, default_knobs(info, groups, spec), lambda: candidate_knobs(info, groups, spec))
    work = iterations(info.axes)
    reductions = len(info.reductions)
    _split_border(sch, info.block)
    epilogue = gather_epilogue(sch, info.block)
    if len(info.spatial) < len(epilogue.axes):
        sch = join_axes(sch, epilogue, 2, len(epilogue.axes) - 1)
    sums, output = sch.get_sblock(info.name), sch.get_sblock(epilogue.name)
    notes = schedule_other_stages(sch, {info.name, epilogue.name}, spec)
    tile = _tile_output(sch, output, chosen, share=work is None or work >= _WORTH_SHARING)
    sum_in_registers(sch, sums, tile, reductions)
    vectorize_tile(sch, output, tile)
    _prefetch(sch, sch.get_loops(output)[0], info, chosen, groups)
    return sch, "; ".join([str(chosen), *notes])


def _prefetch(sch: Schedule, outermost: LoopRV, info: BlockInfo, knobs: PackedConvolutionKnobs, groups: int) -> None:
    *_, rows, columns, _ = (axis.extent for axis in info.spatial)
    steps = iterations(info.reductions)
    if rows is None or columns is None or steps is None or (info.reductions[-1].extent or 0) < _FEWEST_STEPS:
        return
    tile = knobs.tile
    last = len(info.spatial) - 2
    across = math.ceil(columns / tile.columns)
    positions = [TilePosition(last, tile.columns, 1)]
    tiles = across
    if len(info.spatial) > 4:
        positions.append(TilePosition(last - 1, tile.rows, across))
        tiles *= math.ceil(rows / tile.rows)
    lanes = info.spatial[-1].extent or 1
    prefetch_weights(sch, outermost, 1, positions, tiles, steps * tile.vectors * lanes * 4)
    parts = PixelTiles(_blocks(info) // groups // tile.vectors, knobs.chunks, tiles)
    prefetch_pixels(sch, outermost, parts, positions, info.spatial[0].extent, info.reductions[0].extent or 1)


def _split_border(sch: Schedule, sums: SBlockRV) -> None:
    """Writes the border apart from the inside, so that neither needs a condition."""
    for producer in sch.get_producers(sums):
        loops = sch.get_loops(producer)
        if sch.get(producer).name_hint == "bordered_input" and sch.can_decompose_padding(producer, loops[0]):
            sch.decompose_padding(producer, loops[0])


def _tile_output(sch: Schedule, output: SBlockRV, knobs: PackedConvolutionKnobs, *, share: bool) -> LoopRV:
    """Splits the output into tiles; returns the loop over the tiles of a row."""
    batch, block, *upper, column, lane = sch.get_loops(output)
    tile = knobs.tile
    group, vector = sch.split(block, [None, tile.vectors])
    if upper:
        chunk, row_tile, row = split_tiles(sch, upper.pop(), knobs.chunks, tile.rows)
        whole, column_tile, column = split_tiles(sch, column, 1, tile.columns)
        sch.reorder(batch, group, chunk, *upper, row_tile, whole, column_tile, vector, row, column, lane)
    else:
        chunk, column_tile, column = split_tiles(sch, column, knobs.chunks, tile.columns)
        sch.reorder(batch, group, chunk, column_tile, vector, column, lane)
    fused = sch.fuse(batch, group, chunk)
    if share:
        sch.parallel(fused)
    return column_tile
