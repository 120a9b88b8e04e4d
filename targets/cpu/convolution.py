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
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, iterations, root_blocks
from lepton_compiler.targets.cpu.epilogue import gather_epilogue
from lepton_compiler.targets.cpu.generic import schedule_stage
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.register_tile import default_tile
from lepton_compiler.targets.spec import TargetSpec

_PIECES = 32
"""Parallel pieces that a large convolution is cut into at least: four for each of eight cores."""
_WORTH_SHARING = 1 << 18
"""Multiply-adds below which one core is faster alone."""


@dataclass(frozen=True)
class ConvolutionKnobs:
    """What can be chosen.

    Attributes:
        tile_pixels: Output pixels of a register tile.
        tile_vectors: Vectors of output channels of a register tile; divides those of a group.
        chunks: Pieces that the pixels are cut into.
    """

    tile_pixels: int
    tile_vectors: int
    chunks: int

    def __str__(self) -> str:
        return f"tile_pixels={self.tile_pixels} tile_vectors={self.tile_vectors} chunks={self.chunks}"


def default_knobs(sch: Schedule, info: BlockInfo, groups: int, spec: TargetSpec) -> ConvolutionKnobs:
    """The closed form: fewest estimated cycles in a tile, then enough pieces for the cores."""
    batch, blocks, pixels, _ = (axis.extent for axis in info.spatial)
    steps = iterations(info.reductions)
    tile = default_tile(spec, pixels, blocks // groups, steps)
    if pixels is None or steps is None:
        return ConvolutionKnobs(tile.rows, tile.vectors, 8)
    tiles = math.ceil(pixels / tile.rows)
    pieces = (batch or 1) * blocks // tile.vectors
    chunks = min(tiles, math.ceil(_PIECES / pieces))
    return ConvolutionKnobs(tile.rows, tile.vectors, chunks)


def schedule_convolution(sch: Schedule, info: BlockInfo, spec: TargetSpec, knobs: ConvolutionKnobs | None = None) -> str:
    """Applies the schedule; returns the knob values in words."""
    groups = int(sch.get(info.block).annotations.get("lepton.groups", 1))
    chosen = knobs or default_knobs(sch, info, groups, spec)
    lanes = info.spatial[3].extent
    work = iterations(info.axes)
    output = gather_epilogue(sch, info.block)
    tile = _tile_output(sch, output, chosen, lanes, share=work is None or work * lanes >= _WORTH_SHARING)
    _sum_in_registers(sch, info.block, tile)
    _vectorize_epilogue(sch, output.block)
    done = {info.name, output.name}
    others = [stage for stage in root_blocks(sch) if stage.name not in done]
    notes = [f"{stage.name}: {schedule_stage(sch, stage, spec)}" for stage in others]
    return "; ".join([str(chosen), *notes])


def _tile_output(sch: Schedule, output: BlockInfo, knobs: ConvolutionKnobs, lanes: int, *, share: bool) -> LoopRV:
    """Splits the output into tiles; returns the loop over the tiles of a chunk."""
    sizes = [sch.get(axis.loop).extent for axis in output.axes[2:]]
    sch.transform_block_layout(output.block, lambda n, o, *place: (n, o, _flatten(place, sizes)))
    batch, channel, pixel = sch.get_loops(output.block)
    pixels = sch.get(pixel).extent
    tiles = -(-pixels // knobs.tile_pixels) if isinstance(pixels, int) else tirx.ceildiv(pixels, knobs.tile_pixels)
    per_chunk = _ceil_div(pixels, knobs.tile_pixels * knobs.chunks)
    chunk, tile, pixel = sch.split(pixel, [None, per_chunk, knobs.tile_pixels])
    group, vector, lane = sch.split(channel, [None, knobs.tile_vectors, lanes])
    sch.reorder(batch, chunk, group, tile, vector, pixel, lane)
    outer = sch.fuse(batch, chunk, group)
    if share:
        sch.parallel(outer)
    if not _divides(pixels, knobs.tile_pixels):
        peel_tail(sch, tile)
    return tile
