"""Chooses and applies the schedule of a fused PrimFunc: the first file to read in this folder.

``schedule_function`` looks at what the function computes (its anchor), hands it to that anchor's schedule, and writes
the choice into the function's attributes, so that manifest and reports can show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.s_tir import SBlockRealize, Schedule

from lepton_compiler.targets.cpu.generic import schedule_generic
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


def schedule_function(func: tirx.PrimFunc, spec: TargetSpec) -> ScheduledFunction:
    """Schedules ``func`` for ``spec``; works for every PrimFunc, static or symbolic."""
    if not isinstance(func.body, SBlockRealize):
        return _result(func, "opaque", "as written")
    sch = Schedule(tvm.IRModule({"main": func}), debug_mask="none", error_render_level="none")
    words = schedule_generic(sch, spec)
    return _result(sch.mod["main"], "generic", words)


def _result(func: tirx.PrimFunc, anchor: str, schedule: str) -> ScheduledFunction:
    text = f"{anchor}: {schedule}"
    return ScheduledFunction(
        func.with_attr(ANCHOR_ATTRIBUTE, anchor).with_attr(SCHEDULE_ATTRIBUTE, text), anchor, text
    )
