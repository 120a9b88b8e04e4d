"""Chooses and applies the schedule of a fused PrimFunc: the first file to read in this folder.

``schedule_function`` looks at what the function computes (its anchor), hands it to that anchor's schedule, and writes
the choice into the function's attributes, so that manifest and reports can show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.s_tir import SBlockRealize, Schedule, ScheduleError

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, root_blocks
from lepton_compiler.targets.cpu.convolution import schedule_convolution
from lepton_compiler.targets.cpu.depthwise_convolution import schedule_depthwise
from lepton_compiler.targets.cpu.generic import schedule_generic
from lepton_compiler.targets.cpu.loop_tail import split_tails
from lepton_compiler.targets.cpu.matmul import schedule_dense, schedule_matmul
from lepton_compiler.targets.spec import TargetSpec

ANCHOR_ATTRIBUTE = "lepton.anchor"
SCHEDULE_ATTRIBUTE = "lepton.schedule"


@dataclass(frozen=True)
class ScheduledFunction:
    """A PrimFunc with its schedule.

    Attributes:
        func: The function, with the attributes ``lepton.anchor`` and ``lepton.schedule``.
        anchor: What dominates its work, such as ``"conv2d"``.
        schedule: The chosen schedule and its knob values in one line.
    """

    func: tirx.PrimFunc
    anchor: str
    schedule: str


Scheduler = Callable[[Schedule, BlockInfo, TargetSpec], str]

_SCHEDULERS: dict[str, Scheduler] = {
    "convolution": schedule_convolution,
    "depthwise_convolution": schedule_depthwise,
    "dense": schedule_dense,
    "matmul": schedule_matmul,
}
"""By the anchor that the legalization marked."""


def schedule_function(func: tirx.PrimFunc, spec: TargetSpec) -> ScheduledFunction:
    """Schedules ``func`` for ``spec``; works for every PrimFunc, static or symbolic."""
    if not isinstance(func.body, SBlockRealize):
        return _result(func, "opaque", "as written")
    sch = _new_schedule(func)
    marked = next((info for info in root_blocks(sch) if info.anchor in _SCHEDULERS), None)
    if marked is None:
        return _scheduled(sch, "generic", schedule_generic(sch, spec))
    try:
        words = _SCHEDULERS[marked.anchor](sch, marked, spec)
    except ScheduleError as error:
        # TVM checks the legality of each step; what an unusual epilogue makes illegal still has a correct schedule.
        sch = _new_schedule(func)
        words = f"{schedule_generic(sch, spec)} (no {marked.anchor} schedule: {_first_reason(error)})"
        return _scheduled(sch, "generic", words)
    return _scheduled(sch, marked.anchor, words)


def _new_schedule(func: tirx.PrimFunc) -> Schedule:
    return Schedule(tvm.IRModule({"main": func}), debug_mask="none", error_render_level="fast")


def _scheduled(sch: Schedule, anchor: str, words: str) -> ScheduledFunction:
    return _result(split_tails(sch.mod["main"]), anchor, words)


def _first_reason(error: ScheduleError) -> str:
    """The sentence of a schedule error that says what was not legal."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "not legal"


def _result(func: tirx.PrimFunc, anchor: str, schedule: str) -> ScheduledFunction:
    text = f"{anchor}: {schedule}"
    return ScheduledFunction(func.with_attr(ANCHOR_ATTRIBUTE, anchor).with_attr(SCHEDULE_ATTRIBUTE, text), anchor, text)
