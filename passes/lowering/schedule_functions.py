"""ScheduleFunctions: every PrimFunc -> the same function with the target's schedule, its knobs tuned or the default."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import tvm
from tvm import tirx

from lepton_compiler.core.manifest import TuningEntry
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.targets.cpu.knobs import TUNED_ATTRIBUTE, KnobSource, RecordedKnobs
from lepton_compiler.targets.cpu.schedule import ScheduledFunction, schedule_function
from lepton_compiler.targets.spec import TargetSpec


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
        knobs = RecordedKnobs(choice.knobs)
        scheduled = schedule_function(func, target, knobs)
        refusal = knobs.refusal or scheduled.refused
        if refusal is None and not knobs.has_asked:
            refusal = f"the kernel's schedule is {scheduled.anchor}, which has no knobs"
        if scheduled.refused is not None:
            # Knobs that TVM refuses cost the default nothing.
            scheduled = schedule_function(func, target)
        entry = TuningEntry(choice.source, choice.gain, refusal or "")
        return replace(scheduled, func=scheduled.func.with_attr(TUNED_ATTRIBUTE, asdict(entry))), f"; {entry}"
