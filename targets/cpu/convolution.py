"""Convolution with packed weights: a register tile of output pixels by vectors of output channels.

    for n, chunk of pixels, group of output vectors        parallel
      for tile of pixels in the chunk
        sums[pixels, vectors, lanes] = 0                    in registers
        for channel, taps                                   the reduction
          for pixel, vector                                 unrolled
            sums[pixel, vector, :] += input[pixel] * weight[vector, channel, taps, :]
        output = epilogue(sums)                             bias, activation, residual; stored channels first

Pixels are counted through all rows of the output, so widths that no tile divides (7, 14, 75) cost one partial tile a
chunk, not one a row. The definition is in ``passes/lowering/convolution_computes.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, iterations
from lepton_compiler.targets.cpu.epilogue import find_anchor, gather_epilogue
from lepton_compiler.targets.cpu.generic import schedule_other_stages
from lepton_compiler.targets.cpu.joined_axes import join_axes
from lepton_compiler.targets.cpu.knobs import CHUNK_FACTORS, KnobChooser, choose
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.register_tile import RegisterTile, default_tile, register_tiles
from lepton_compiler.targets.spec import TargetSpec

_PIECES = 16
"""Parallel pieces that a large convolution is cut into: four for each of four cores."""
_WORTH_SHARING = 1 << 18
"""Multiply-adds below which one core is faster alone."""
_FEWEST_TILES_IN_A_CHUNK = 16
"""Each chunk may end in a partial tile, which is slower."""
_SMALL_PLANE = 64
"""Input pixels of a channel that fill four cache lines."""
_ENOUGH_OUTPUT_CHANNELS = 128
"""Each copied element is then read at least this often."""
_LONGEST_UNROLLED_TAP = 3
"""Kernel widths up to this are unrolled: neighbouring taps share addresses; longer ones would only grow the code."""


@dataclass(frozen=True)
class ConvolutionKnobs:
    """What can be chosen.

    Attributes:
        tile_pixels: Output pixels of a register tile.
        tile_vectors: Vectors of output channels of a register tile; divides those of a group.
        chunks: Pieces that the pixels are cut into.
        channels_last: Whether the input is first copied so that its channels are neighbours.
    """

    tile_pixels: int
    tile_vectors: int
    chunks: int
    channels_last: bool = False

    def __str__(self) -> str:
        words = f"tile_pixels={self.tile_pixels} tile_vectors={self.tile_vectors} chunks={self.chunks}"
        return f"{words} channels_last" if self.channels_last else words


def default_knobs(sch: Schedule, info: BlockInfo, groups: int, spec: TargetSpec) -> ConvolutionKnobs:
    """The closed form: fewest estimated cycles in a tile, then enough pieces for the cores."""
    batch, blocks, pixels, _ = (axis.extent for axis in info.spatial)
    assert blocks is not None, "channels are known"
    steps = iterations(info.reductions)
    tile = default_tile(spec, pixels, blocks // groups, steps)
    if pixels is None or steps is None:
        return ConvolutionKnobs(tile.rows, tile.vectors, 8)
    chunks = _chunks(batch, blocks, pixels, tile)
    return ConvolutionKnobs(tile.rows, tile.vectors, chunks, _scatters_channels(sch, info))


def candidate_knobs(
    info: BlockInfo, groups: int, default: ConvolutionKnobs, spec: TargetSpec
) -> Iterator[ConvolutionKnobs]:
    """What may be better: every tile that fits, with as many pieces as the cores need and more."""
    batch, blocks, pixels, _ = (axis.extent for axis in info.spatial)
    assert blocks is not None, "channels are known"
    for tile in register_tiles(spec, pixels, blocks // groups):
        for factor in CHUNK_FACTORS:
            chunks = factor * default.chunks if pixels is None else _chunks(batch, blocks, pixels, tile, factor)
            yield ConvolutionKnobs(tile.rows, tile.vectors, chunks, default.channels_last)


def _chunks(batch: int | None, blocks: int, pixels: int, tile: RegisterTile, factor: int = 1) -> int:
    """Pieces of the pixels, so that there are about ``factor * _PIECES`` with those of the output vectors."""
    tiles = math.ceil(pixels / tile.rows)
    pieces = (batch or 1) * blocks // tile.vectors
    return max(1, min(tiles // _FEWEST_TILES_IN_A_CHUNK, math.ceil(factor * _PIECES / pieces)))


def _scatters_channels(sch: Schedule, info: BlockInfo) -> bool:
    """Whether a tile's pixels use so little of each channel's cache lines that copying the input first pays.

    Measured on planes of 7 by 7: 1.4 to 1.6 times as fast. At 14 by 14 the copy costs more than it saves.
    """
    data = next(region.source for region in sch.get(info.block).reads if region.source.scope() != "local")
    *_, blocks, _, lanes = (axis.extent for axis in info.spatial)
    taps = iterations(info.reductions[1:])
    sizes = [int(size) if isinstance(size, tirx.IntImm) else None for size in list(data.shape)[2:]]
    if None in sizes or taps != 1 or blocks * lanes < _ENOUGH_OUTPUT_CHANNELS:
        return False
    return 1 < math.prod(sizes) <= _SMALL_PLANE


def schedule_convolution(
    sch: Schedule, spec: TargetSpec, knobs: ConvolutionKnobs | KnobChooser | None = None
) -> tuple[Schedule, str]:
    """Applies the schedule; returns the schedule to go on with and the knob values in words."""
    info = find_anchor(sch, "convolution")
    groups = int(sch.get(info.block).annotations.get("lepton.groups", 1))
    default = default_knobs(sch, info, groups, spec)
    chosen = choose(knobs, default, lambda: candidate_knobs(info, groups, default, spec))
    lanes = info.spatial[3].extent
    work = iterations(info.axes)
    _copy_input(sch, info.block, channels_last=chosen.channels_last)
    epilogue = gather_epilogue(sch, info.block)
    sch = join_axes(sch, epilogue, 2, len(epilogue.axes))
    sums, output = sch.get_sblock(info.name), sch.get_sblock(epilogue.name)
    notes = schedule_other_stages(sch, {info.name, epilogue.name}, spec)
    tile = _tile_output(sch, output, chosen, lanes, share=work is None or work >= _WORTH_SHARING)
    _sum_in_registers(sch, sums, tile)
    _vectorize_epilogue(sch, output)
    return sch, "; ".join([str(chosen), *notes])


def _copy_input(sch: Schedule, sums: SBlockRV, *, channels_last: bool) -> None:
    """Writes the border apart from the inside, so that neither needs a condition; or changes the input's layout."""
    if channels_last:
        sch.cache_read(sums, 0, "global")
        sch.transform_layout(sums, ("read", 0), lambda n, c, *place: [n, *place, c])
        return
    for producer in sch.get_producers(sums):
        loops = sch.get_loops(producer)
        if sch.get(producer).name_hint == "bordered_input" and sch.can_decompose_padding(producer, loops[0]):
            sch.decompose_padding(producer, loops[0])


def _tile_output(sch: Schedule, output: SBlockRV, knobs: ConvolutionKnobs, lanes: int, *, share: bool) -> LoopRV:
    """Splits the output into tiles; returns the loop over the tiles of a chunk."""
    batch, channel, pixel = sch.get_loops(output)
    pixels = sch.get(pixel).extent
    chunk, tile, pixel = sch.split(pixel, [knobs.chunks, None, knobs.tile_pixels])
    group, vector, lane = sch.split(channel, [None, knobs.tile_vectors, lanes])
    sch.reorder(batch, chunk, group, tile, vector, pixel, lane)
    outer = sch.fuse(batch, chunk, group)
    if share:
        sch.parallel(outer)
    if not isinstance(pixels, tirx.IntImm) or int(pixels) % (knobs.chunks * knobs.tile_pixels):
        peel_tail(sch, tile)
    return tile


def _sum_in_registers(sch: Schedule, sums: SBlockRV, tile: LoopRV) -> None:
    """Moves the sums into the tile and unrolls what has to stay in registers."""
    sch.compute_at(sums, tile, preserve_unit_loops=True)
    sch.set_scope(sums, 0, "local")
    loops = sch.get_loops(sums)
    tile_position = next(i for i, loop in enumerate(loops) if sch.get(loop).same_as(sch.get(tile)))
    _, vector, pixel, lane, *reductions = loops[tile_position + 1 :]
    sch.reorder(*reductions, pixel, vector, lane)
    sch.vectorize(lane)
    sch.unroll(pixel)
    sch.unroll(vector)
    if len(reductions) > 1 and int(sch.get(reductions[-1]).extent) <= _LONGEST_UNROLLED_TAP:
        sch.unroll(reductions[-1])
    sch.decompose_reduction(sums, reductions[0])


def _vectorize_epilogue(sch: Schedule, output: SBlockRV) -> None:
    """Vectors of channels: bias loads are contiguous, and a vector's lanes go to their rows one by one."""
    vector, pixel, lane = sch.get_loops(output)[-3:]
    sch.vectorize(lane)
    sch.unroll(pixel)
    sch.unroll(vector)
