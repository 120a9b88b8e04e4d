"""ScheduleFunctions: every PrimFunc -> the same function with the target's schedule, its knobs tuned or the default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import tvm
from tvm import tirx

from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.targets.cpu.knobs import KnobSource
from lepton_compiler.targets.cpu.schedule import ScheduledFunction, schedule_function
from lepton_compiler.targets.spec import TargetSpec

TUNED_ATTRIBUTE = "lepton.tuned"
"""Of a kernel with tuned knobs: the record, and what it gains."""


@dataclass(frozen=True)
class ScheduleFunctions(Pass):
    """Schedule every kernel: parallel over cores, vectorised, tiled for the target's registers and caches.

    Attributes:
        tuned: Who knows better knobs than the default; None where nobody is asked.
    """

    required: ClassVar[bool] = True

    tuned: KnobSource | None = None

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Schedules each PrimFunc; the node of a rewrite or decline is the kernel's name."""
        rewrites, declines = [], []
        for var, func in list(module.functions.items()):
            if isinstance(func, tirx.PrimFunc):
                scheduled, words = self._schedule(func, target)
                module.update_func(var, scheduled.func)
                rewrites.append(Rewrite(var.name_hint, f"scheduled as {scheduled.schedule}{words}"))
                if scheduled.refused is not None:
                    declines.append(Decline(var.name_hint, scheduled.refused))
        return PassResult(module, tuple(rewrites), tuple(declines))

    def _schedule(self, func: tirx.PrimFunc, target: TargetSpec) -> tuple[ScheduledFunction, str]:
        """The function with its schedule, and where the knobs come from."""
        choice = None if self.tuned is None else self.tuned.find(func, target)
        if choice is None:
            return schedule_function(func, target), ""
        scheduled = schedule_function(func, target, choice.knobs)
        if scheduled.refused is None and scheduled.anchor == choice.anchor:
            return replace(scheduled, func=scheduled.func.with_attr(TUNED_ATTRIBUTE, str(choice))), f"; {choice}"
        # Knobs that this version refuses cost the default nothing.
        why = scheduled.refused or f"the kernel's schedule is {scheduled.anchor}"
        return schedule_function(func, target), f"; not as {choice.source} says: {why}"
