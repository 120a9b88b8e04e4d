"""Weights of the next group of output vectors are fetched while the tiles of this one are computed.

    for group                                      weights of one group stay in the second cache
      for tile t of T
        for chunk of channels, taps
          prefetch weight[group + 1, chunk, taps]: the t-th part of its lines
          for channel, pixels, vectors: sums += input * weight[group, ...]

Without it the first tile of each group waits for the memory, and all others leave it idle. In a large model no layer
finds its weights in a cache, and pays for that in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Var
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from lepton_compiler.targets.cpu.summing_loops import (
    SummingLoops,
    TilePosition,
    ask_below,
    insert_below,
    prefetch,
    substitute,
)

_ATTRIBUTE = "lepton.prefetch_weights"
_MOST_TILES = 64
"""With more tiles the first one is a small part of the whole."""
_MOST_LINES = 256
"""Lines that one step of the loop around may ask for; more would come in bursts."""
_FEWEST_BYTES = 8 << 10
"""Weights of a group below this come from the cache soon enough."""


def prefetch_weights(
    sch: Schedule, loop: LoopRV, vector_axis: int, positions: Sequence[TilePosition], tiles: int, group_bytes: int
) -> None:
    """Asks for prefetches below ``loop``, where they pay.

    Args:
        sch: The schedule.
        loop: A loop around the tiles.
        vector_axis: Number of the axis of output vectors among those of the sums.
        positions: How the number of a tile follows from the others.
        tiles: Number of tiles of a group.
        group_bytes: Bytes of the weights of a group.
    """
    if 1 < tiles <= _MOST_TILES and group_bytes >= _FEWEST_BYTES:
        ask_below(sch, loop, _ATTRIBUTE, [tiles, vector_axis], positions)


def insert_weight_prefetches(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Puts prefetches below every loop that asks for them."""
    return insert_below(func, _ATTRIBUTE, _with_prefetches)


def _with_prefetches(
    sums: SummingLoops, _: Var, numbers: Sequence[int], positions: Sequence[TilePosition]
) -> tirx.Stmt:
    tiles, vector_axis = numbers
    weight = sums.operand(positions, same_for_all=True)
    vectors = sums.unrolled(vector_axis)
    lines = int(sums.channels.extent) * vectors
    if weight is None or lines > _MOST_LINES:
        return sums.body
    count = math.ceil(lines / tiles)
    vector = sums.update.block.iter_vars[vector_axis].var

    def fetch(line: tirx.Expr) -> tirx.Stmt:
        """One line of the next group, of those that this chunk of channels reads."""
        values = {**sums.values, vector: sums.values[vector] + vectors + line % vectors}
        chosen = {**sums.at_start, sums.channels.loop_var: line // vectors}
        return prefetch(weight, [substitute(substitute(index, values), chosen) for index in weight.indices])

    first = sums.tile(positions) % tiles * count
    return sums.before_chunk([fetch((first + i) % lines) for i in range(count)])
