"""Pixels of the next tile are fetched while this one is computed, where a batch has driven them out of the caches.

    for n, group of output vectors, chunk of rows
      for tile
        for chunk of channels, taps
          if this is the first group: prefetch the next tile's share of input[n, chunk of channels]
          for channel, pixels, vectors: sums += input * weight

A tile reads a few hundred bytes of every chunk of channels, each in a page of its own, which no hardware follows. One
image finds its pixels where the layer before has just left them; of several, all but the last have gone from the near
caches. Without prefetches each chunk of channels then costs a latency (``docs/scheduling.md`` has the measured times).
The other groups find what the first one has read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.ir import Var
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from lepton_compiler.targets.cpu.summing_loops import (
    LINE_BYTES,
    SummingLoops,
    TilePosition,
    ask_below,
    insert_below,
    prefetch,
)

_ATTRIBUTE = "lepton.prefetch_pixels"
_FOLLOWED_STREAMS = 15
"""Chunks of channels that the hardware's prefetcher follows by itself."""


@dataclass(frozen=True)
class PixelTiles:
    """How a fused loop and the tiles below it divide a convolution.

    Attributes:
        groups: Groups of output vectors that read the same input.
        chunks: Pieces of the rows; the fastest part of the fused loop.
        tiles: Tiles of all pieces.
    """

    groups: int
    chunks: int
    tiles: int


def prefetch_pixels(
    sch: Schedule, loop: LoopRV, parts: PixelTiles, positions: Sequence[TilePosition], batch: int | None, streams: int
) -> None:
    """Asks for prefetches below ``loop``, where they pay.

    Args:
        sch: The schedule.
        loop: The loop over images, groups of vectors and pieces of rows, fused.
        parts: What it is fused of, and what is below.
        positions: How the number of a tile follows from the axes of the sums.
        batch: Number of images, None where symbolic.
        streams: Chunks of input channels.
    """
    if batch != 1 and streams > _FOLLOWED_STREAMS:
        ask_below(sch, loop, _ATTRIBUTE, [parts.groups, parts.chunks, parts.tiles], positions)


def insert_pixel_prefetches(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Puts prefetches below every loop that asks for them."""
    return insert_below(func, _ATTRIBUTE, _with_prefetches)


def _with_prefetches(
    sums: SummingLoops, fused: Var, numbers: Sequence[int], positions: Sequence[TilePosition]
) -> tirx.Stmt:
    parts = PixelTiles(*numbers)
    pixels = sums.operand(positions, same_for_all=False)
    if pixels is None or not all(isinstance(extent, tirx.IntImm) for extent in pixels.source.shape[2:]):
        return sums.body
    image, chunk, *_ = (sums.first(index) for index in pixels.indices)
    plane = [int(extent) for extent in pixels.source.shape[2:]]
    line_elements = LINE_BYTES * 8 // tvm.DataType(pixels.source.dtype).bits
    steps, step = _taps(sums)
    count = math.ceil(math.prod(plane) / line_elements / (parts.tiles * steps))
    first = ((sums.tile(positions) + 1) * steps + step) * count
    lines = [prefetch(pixels, [image, chunk, *_place((first + i) * line_elements, plane)]) for i in range(count)]
    is_first_group = fused // parts.chunks % parts.groups < 1
    return sums.before_chunk([tirx.IfThenElse(is_first_group, tirx.stmt_seq(*lines), None)])


def _place(element: tirx.Expr, sizes: Sequence[int]) -> list[tirx.Expr]:
    """Indices of an element, or of the last one: TVM derives the sizes of buffers from the indices that it meets."""
    rest = tirx.min(element, tirx.IntImm(element.ty.dtype, math.prod(sizes) - 1))
    indices: list[tirx.Expr] = []
    for size in reversed(sizes):
        indices.insert(0, rest % size)
        rest = rest // size
    return indices


def _taps(sums: SummingLoops) -> tuple[int, tirx.Expr]:
    """How many taps a chunk of channels has, and which one this is."""
    reductions = [axis for axis in sums.update.block.iter_vars if axis.iter_type == tirx.IterVar.CommReduce]
    count, number = 1, sums.values[reductions[-1].var] * 0
    for axis in reductions[1:-1]:
        extent = int(axis.dom.extent)
        number = number * extent + sums.values[axis.var]
        count *= extent
    return count, number
