"""Chooses and applies the schedule of a fused PrimFunc: the first file to read in this folder.

``schedule_function`` looks at what the function computes (its anchor), hands it to that anchor's schedule, and writes
the choice into the function's attributes, so that manifest and reports can show it.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import SBlockRealize, Schedule, ScheduleError

from lepton_compiler.targets.cpu.block_analysis import root_blocks
from lepton_compiler.targets.cpu.convolution import schedule_convolution
from lepton_compiler.targets.cpu.depthwise_convolution import schedule_depthwise
from lepton_compiler.targets.cpu.generic import schedule_generic
from lepton_compiler.targets.cpu.hoist_bindings import hoist_bindings
from lepton_compiler.targets.cpu.index_division import divide_sizes
from lepton_compiler.targets.cpu.inlining import inline_elementwise
from lepton_compiler.targets.cpu.knobs import CandidateCollector
from lepton_compiler.targets.cpu.loop_kinds import apply_marked_kinds
from lepton_compiler.targets.cpu.loop_tail import split_tails
from lepton_compiler.targets.cpu.matmul import schedule_dense, schedule_matmul
from lepton_compiler.targets.cpu.named_sizes import name_sizes
from lepton_compiler.targets.cpu.packed_convolution import schedule_packed_convolution
from lepton_compiler.targets.cpu.packed_depthwise import schedule_packed_depthwise
from lepton_compiler.targets.cpu.prefetch_pixels import insert_pixel_prefetches
from lepton_compiler.targets.cpu.prefetch_weights import insert_weight_prefetches
from lepton_compiler.targets.cpu.row_reduction import row_axes, schedule_row_reduction
from lepton_compiler.targets.cpu.vector_math import expand_functions
from lepton_compiler.targets.cpu.winograd import schedule_winograd
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
        refused: Which schedule of its own the function should have had and why TVM refused it, in one sentence; None
            where nothing was refused.
    """

    func: tirx.PrimFunc
    anchor: str
    schedule: str
    refused: str | None = None


ROW_REDUCTION = "row_reduction"

Scheduler = Callable[[Schedule, TargetSpec, Any], tuple[Schedule, str]]

_SCHEDULERS: dict[str, Scheduler] = {
    "convolution": schedule_convolution,
    "depthwise_convolution": schedule_depthwise,
    "packed_convolution": schedule_packed_convolution,
    "packed_depthwise": schedule_packed_depthwise,
    "winograd": schedule_winograd,
    "dense": schedule_dense,
    "matmul": schedule_matmul,
    ROW_REDUCTION: schedule_row_reduction,
}
"""By anchor. All but the last are marked by the legalization with the block annotation ``lepton.anchor``."""


@cache
def knob_types() -> dict[str, type]:
    """The class of each anchor's knobs, as its schedule declares them with ``knobs: SomeKnobs | None``."""
    hints = {anchor: typing.get_type_hints(schedule)["knobs"] for anchor, schedule in _SCHEDULERS.items()}
    return {anchor: typing.get_args(hint)[0] for anchor, hint in hints.items()}


def schedule_function(func: tirx.PrimFunc, spec: TargetSpec, knobs: Any = None) -> ScheduledFunction:
    """Schedules ``func`` for ``spec``; works for every PrimFunc, static or symbolic.

    Args:
        func: The unscheduled function.
        spec: What to schedule it for.
        knobs: Those of its anchor's schedule, or a ``KnobChooser``; None for the default. Anchors without knobs take
            none.
    """
    if not isinstance(func.body, SBlockRealize):
        return _result(func, "opaque", "as written")
    written = func.body.block.annotations
    if ANCHOR_ATTRIBUTE in written:
        return _result(_finish(func), str(written[ANCHOR_ATTRIBUTE]), str(written[SCHEDULE_ATTRIBUTE]))
    func = name_sizes(func)
    anchor = _find_anchor(func)
    if anchor is None:
        return _schedule_generic(func, spec)
    try:
        sch, words = _SCHEDULERS[anchor](_new_schedule(func), spec, knobs)
    except ScheduleError as error:
        # TVM checks the legality of each step; what an unusual epilogue makes illegal still has a correct schedule.
        return _schedule_generic(func, spec, refused=f"no {anchor} schedule: {_first_reason(error)}")
    return _result(_finish(_scheduled(sch)), anchor, words)


def default_knobs_of(func: tirx.PrimFunc, spec: TargetSpec) -> Any:
    """The knobs of the closed form for ``func``; None where its schedule has none."""
    collector = CandidateCollector[Any]()
    schedule_function(func, spec, collector)
    return collector.default


def schedule_reference(func: tirx.PrimFunc, spec: TargetSpec) -> ScheduledFunction:
    """The generic schedule, whatever the anchor: slow, and independent of the schedules that it serves to check."""
    return _schedule_generic(func, spec)


def _find_anchor(func: tirx.PrimFunc) -> str | None:
    """What the legalization marked, or what the stages look like once elementwise ones are inlined."""
    sch = _new_schedule(func)
    marked = next((info.anchor for info in root_blocks(sch) if info.anchor in _SCHEDULERS), None)
    if marked is not None:
        return marked
    inline_elementwise(sch)
    return ROW_REDUCTION if row_axes(sch, root_blocks(sch)) is not None else None


def _schedule_generic(func: tirx.PrimFunc, spec: TargetSpec, refused: str | None = None) -> ScheduledFunction:
    sch = _new_schedule(func)
    inline_elementwise(sch)
    stages = root_blocks(sch)
    anchor = "generic" if any(info.is_reduction or info.is_opaque for info in stages) or not stages else "elementwise"
    words = schedule_generic(sch, spec)
    if refused is not None:
        words += f" ({refused})"
    return _result(_finish(_scheduled(sch)), anchor, words, refused)


def _new_schedule(func: tirx.PrimFunc) -> Schedule:
    return Schedule(tvm.IRModule({"main": func}), debug_mask="none", error_render_level="fast")


def _scheduled(sch: Schedule) -> tirx.PrimFunc:
    function = sch.mod["main"]
    assert isinstance(function, tirx.PrimFunc)
    return function


def _finish(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """What can't be said with schedule primitives."""
    prefetching = insert_pixel_prefetches(insert_weight_prefetches(apply_marked_kinds(func)))
    expanded = expand_functions(split_tails(prefetching))
    return divide_sizes(hoist_bindings(expanded))


def _first_reason(error: ScheduleError) -> str:
    """The sentence of a schedule error that says what was not legal."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "not legal"


def _result(func: tirx.PrimFunc, anchor: str, schedule: str, refused: str | None = None) -> ScheduledFunction:
    text = f"{anchor}: {schedule}"
    labelled = func.with_attr(ANCHOR_ATTRIBUTE, anchor).with_attr(SCHEDULE_ATTRIBUTE, text)
    assert isinstance(labelled, tirx.PrimFunc)
    return ScheduledFunction(labelled, anchor, text, refused)
