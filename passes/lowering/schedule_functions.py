"""ScheduleFunctions: every PrimFunc -> the same function with the target's default schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tvm
from tvm import tirx

from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class ScheduleFunctions(Pass):
    """Schedule every kernel: parallel over cores, vectorised, tiled for the target's registers and caches."""

    required: ClassVar[bool] = True

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Schedules each PrimFunc; the node of a rewrite or decline is the kernel's name."""
        rewrites, declines = [], []
        for var, func in list(module.functions.items()):
            if isinstance(func, tirx.PrimFunc):
                scheduled = schedule_function(func, target)
                module.update_func(var, scheduled.func)
                rewrites.append(Rewrite(var.name_hint, f"scheduled as {scheduled.schedule}"))
                if scheduled.refused is not None:
                    declines.append(Decline(var.name_hint, scheduled.refused))
        return PassResult(module, tuple(rewrites), tuple(declines))
