"""Borders of sliding windows: the padded input of a reduction is copied for one piece of its output at a time.

    pad = copy of x with a border                 for pieces of the outer axes, parallel
    y = max over windows of pad             ->        rows = copy of the rows that the piece reads
                                                      y = max over windows of rows

The rows lie in the core's cache, and no padded copy of the whole tensor takes its place in the arena.
"""

from __future__ import annotations

import math

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, describe_block, iterations

MOST_COPIES = 9
"""How often an element is copied at the most: each pixel's own 3x3 window. Measured: that takes 0.6 times as long as a
copy of the whole tensor, and 25 copies for windows of 5x5 take 1.7 times as long."""


def border_of(sch: Schedule, info: BlockInfo, lanes: int) -> BlockInfo | None:
    """The stage that copies the input of the reduction ``info``, where its rows can be copied piece by piece.

    Its innermost axis has to consist of whole vectors, which are then inside of the border or outside as a whole; and
    only the axes that are shared among cores may be symbolic: scratch of a thread has a size that is known.
    """
    producers = [describe_block(sch, block) for block in sch.get_producers(info.block)]
    candidates = [stage for stage in producers if not stage.is_opaque and not stage.is_reduction]
    if len(candidates) != 1 or len(sch.get_consumers(candidates[0].block)) != 1:
        return None
    extents = [axis.extent for axis in candidates[0].axes]
    if any(extent is None for extent in extents[1:]) or (extents[-1] or 0) % lanes:
        return None
    return candidates[0]


def move_border(sch: Schedule, border: BlockInfo, piece: LoopRV, lanes: int) -> str:
    """Moves the copy into the loop ``piece`` of its reader; returns what was done, for the manifest.

    It stays where it is where windows overlap so much that each element would be copied too often.
    """
    elements = iterations(border.axes)
    trial = sch.copy()
    trial.compute_at(border.block, piece, preserve_unit_loops=True)
    copied = _loop_iterations(trial, trial.get_loops(border.block))
    # A symbolic axis is one of the shared ones, which it multiplies on both sides.
    if elements is not None and (copied is None or copied > MOST_COPIES * elements):
        return f"{border.name} as a whole, for its windows overlap"
    sch.compute_at(border.block, piece, preserve_unit_loops=True)
    _, lane = sch.split(sch.get_loops(border.block)[-1], [None, lanes])
    sch.vectorize(lane)
    return f"{border.name} a piece at a time"


def _loop_iterations(sch: Schedule, loops: list[LoopRV]) -> int | None:
    extents = [sch.get(loop).extent for loop in loops]
    if not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return None
    return math.prod(int(extent) for extent in extents)
