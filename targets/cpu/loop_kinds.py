"""Parallel and vector loops where TVM's own checks can't follow.

``Schedule.parallel`` and ``Schedule.vectorize`` refuse every loop of a function in which some stage was split with a
condition or a reduction was decomposed. A schedule that knows from its construction that the iterations of a loop touch
different elements marks it instead; the kind is set when the schedule is done.
"""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV
from tvm_ffi import structural_map

_KIND = "lepton.loop_kind"


def mark_parallel(sch: Schedule, loop: LoopRV) -> None:
    """The loop's iterations will be shared among cores."""
    sch.annotate(loop, _KIND, int(tirx.ForKind.PARALLEL))


def mark_vectorized(sch: Schedule, loop: LoopRV) -> None:
    """The loop's iterations will be the lanes of a vector."""
    sch.annotate(loop, _KIND, int(tirx.ForKind.VECTORIZED))


def apply_marked_kinds(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Sets the kind of every marked loop of a scheduled function."""

    def convert(loop: tirx.For) -> tirx.For:
        if _KIND not in loop.annotations:
            return loop
        others = {key: value for key, value in loop.annotations.items() if key != _KIND}
        kind = tirx.ForKind(int(loop.annotations[_KIND]))
        return tirx.For(loop.loop_var, loop.min, loop.extent, kind, loop.body, annotations=others)

    return func.with_body(structural_map(func.body, (tirx.For, convert)))
