"""When a loop is worth sharing among cores, and into how many pieces."""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from lepton_compiler.targets.cpu.block_analysis import Axis, iterations

PARALLEL_THRESHOLD = 16 << 10
"""Element operations below which waking a second core costs more than it saves (a few microseconds)."""

ENOUGH_PIECES = 256
"""Loops are fused until the parallel loop has this many iterations: every core count up to 64 is then balanced."""


def is_worth_sharing(axes: tuple[Axis, ...], operations_per_iteration: int = 1) -> bool:
    """Whether the work below ``axes`` pays for a parallel region; symbolic extents count as large."""
    total = iterations(axes)
    return total is None or total * operations_per_iteration >= PARALLEL_THRESHOLD


def parallelize_outer(sch: Schedule, loops: list[LoopRV]) -> LoopRV | None:
    """Fuses the outermost of ``loops`` until there are enough pieces and makes the result parallel.

    Args:
        sch: The schedule.
        loops: Consecutive spatial loops, outermost first, that may all become parallel.

    Returns:
        The parallel loop, or None where every loop has one iteration.
    """
    extents = [_static_extent(sch, loop) for loop in loops]
    chosen: list[LoopRV] = []
    pieces = 1
    for loop, extent in zip(loops, extents, strict=True):
        if pieces >= ENOUGH_PIECES:
            break
        chosen.append(loop)
        # A symbolic extent may be 1: it does not count as pieces, and the next loop joins too.
        pieces *= extent or 1
    if not chosen or all(extent == 1 for extent in extents[: len(chosen)]):
        return None
    fused = sch.fuse(*chosen) if len(chosen) > 1 else chosen[0]
    sch.parallel(fused)
    return fused


def _static_extent(sch: Schedule, loop: LoopRV) -> int | None:
    extent = sch.get(loop).extent
    return int(extent) if isinstance(extent, tirx.IntImm) else None
