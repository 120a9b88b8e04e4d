"""Gives results the memory of operands that die where they are computed, where the kernel may write over them.

    u = add(t, r)   t read here for the last time, as large as u   ->   u lies where t lies

Only tensors of the arena take part: inputs belong to the caller, constants to everybody, and outputs are written where
the caller reads them. Each call notes what it overwrites, or why it overwrites nothing that dies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import tvm

from lepton_compiler.build.dim_expressions import Size
from lepton_compiler.build.execution_plan import Allocation, ArenaPlace, ExecutionPlan, KernelCall, Tensor
from lepton_compiler.build.in_place_results import OverwriteVerdict


def plan_in_place(plan: ExecutionPlan, verdicts: Mapping[str, Sequence[OverwriteVerdict]]) -> ExecutionPlan:
    """The plan with fewer allocations.

    Args:
        plan: Every result in memory of its own.
        verdicts: By kernel, what it may write over what; a kernel that is missing overwrites nothing.
    """
    sharing = _Sharing(list(plan.allocations))
    calls = [sharing.judge(number, call, verdicts.get(call.kernel, ())) for number, call in enumerate(plan.calls)]
    return sharing.settled(plan, calls)


def overwriting_kernels(plan: ExecutionPlan) -> set[str]:
    """Names of the kernels that some call lets write over an operand."""
    return {call.kernel for call in plan.calls if call.overwritten}


@dataclass
class _Sharing:
    """Allocations while they are merged; ``moved`` says in which other one an allocation went up."""

    allocations: list[Allocation]

    def __post_init__(self) -> None:
        self.moved: dict[int, int] = {}
        self.writers: dict[int, str] = {}

    def judge(self, number: int, call: KernelCall, verdicts: Sequence[OverwriteVerdict]) -> KernelCall:
        """Merges results of the call into operands that die there, one into one, and notes what was done."""
        given = [self._place(call, index) for index in range(len(call.arguments))]
        overwritten: dict[int, str] = {}
        reasons: dict[str, None] = {}
        for verdict in verdicts:
            operand, result = given[verdict.operand], given[verdict.result]
            if operand is None or result is None or result in self.moved or verdict.operand in overwritten:
                continue
            dying, born = self.allocations[operand], self.allocations[result]
            # What a hand-written loop writes looks like an operand to the verdict; one was there before the call.
            if dying.first == number or dying.last != number or born.first != number:
                continue
            if not _equal(dying.size_bytes, born.size_bytes):
                continue
            # A tensor that the call is given twice is read under a second name, of which the verdict knows nothing.
            reason = "the kernel is given it twice" if given.count(operand) > 1 else verdict.reason
            writer = self.writers[operand]
            if reason is None:
                self.moved[result] = operand
                self.allocations[operand] = replace(dying, last=born.last)
                overwritten[verdict.operand] = f"over the result of {writer}"
            else:
                reasons[f"not over the result of {writer}: {reason}"] = None
        for place in given:
            if place is not None and (self.allocations[place].first == number or place in self.moved):
                self.writers[self._root(place)] = call.nodes
        return replace(call, overwritten=tuple(overwritten), in_place="; ".join(overwritten.values() or reasons))

    def settled(self, plan: ExecutionPlan, calls: Sequence[KernelCall]) -> ExecutionPlan:
        """The plan with the merged allocations numbered anew."""
        kept = [index for index in range(len(self.allocations)) if index not in self.moved]
        numbers = {old: new for new, old in enumerate(kept)}

        def settle(argument: Tensor | Size) -> Tensor | Size:
            if not isinstance(argument, Tensor) or not isinstance(argument.place, ArenaPlace):
                return argument
            return replace(argument, place=ArenaPlace(numbers[self._root(argument.place.index)]))

        return replace(
            plan,
            calls=tuple(replace(call, arguments=tuple(map(settle, call.arguments))) for call in calls),
            allocations=tuple(self.allocations[index] for index in kept),
        )

    def _root(self, index: int) -> int:
        while index in self.moved:
            index = self.moved[index]
        return index

    def _place(self, call: KernelCall, argument: int) -> int | None:
        """The allocation that an argument lies in by now; None where it lies elsewhere."""
        value = call.arguments[argument]
        if not isinstance(value, Tensor) or not isinstance(value.place, ArenaPlace):
            return None
        return self._root(value.place.index)


def _equal(a: Size, b: Size) -> bool:
    return bool(tvm.sym.Analyzer().can_prove_equal(a, b))
