"""Tails: what is left of a loop after the last whole tile gets code of its own, so that whole tiles need no condition."""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV


def peel_tail(sch: Schedule, tiles: LoopRV) -> None:
    """Asks for the last, partial iteration of ``tiles`` to be compiled apart (TVM's pass LoopPartition).

    Args:
        sch: The schedule.
        tiles: Outer loop of a split whose factor does not divide the extent; must not be parallel.
    """
    sch.annotate(tiles, "pragma_loop_partition_hint", True)
    # LoopPartition replaces a one-iteration loop by the int32 constant 0, also where the loop is int64, and the types
    # clash later; it leaves loops with another annotation alone.
    sch.annotate(tiles, "lepton_tiles", True)
