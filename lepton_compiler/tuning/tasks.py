"""TuningTask: one kernel of a model that has knobs to choose, with everything that a search needs to know of it.

The kernels of algorithms that a layer could take instead are tasks as well, though the model does not call them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tvm
from tvm import relax, tirx
from tvm_ffi import structural_walk

from lepton_compiler.build.kernel_work import kernel_work
from lepton_compiler.core.program import Program
from lepton_compiler.targets.cpu.knobs import CandidateCollector
from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.spec import TargetSpec
from lepton_compiler.tuning.algorithm_layers import Layer
from lepton_compiler.tuning.workload_key import workload_key

_EXACT_DTYPES = ("float32", "float64")
"""Results of these types are compared on the device; a bfloat16 is stored as the bits of a uint16, which are no number
to compare."""

SYMBOLIC_REASON = "it has dimensions that are known at run time alone"
"""Why a kernel of symbolic shapes is no task."""


@dataclass(frozen=True)
class TuningTask:
    """A kernel to tune. Kernels of a model that compute the same are one task.

    Attributes:
        workload: Key of the unscheduled kernel.
        names: The kernels' names in the model.
        calls: How often a run of the model calls them, all together.
        function: The unscheduled kernel.
        anchor: Whose schedule has the knobs.
        default: The closed form's knobs.
        candidates: All knobs to choose from, the default first.
        flops: Operations of one call; None where they can't be counted.
        algorithm: What the kernel computes its layer by, where there are several algorithms.
        layer: Keys of that layer's kernels, its own among them, the most exact first.
        stands_for: Kernels of the model whose place it would take; none where the model calls it already.
    """

    workload: str
    names: tuple[str, ...]
    calls: int
    function: tirx.PrimFunc
    anchor: str
    default: Any
    candidates: tuple[Any, ...]
    flops: int | None
    algorithm: str | None = None
    layer: tuple[str, ...] = ()
    stands_for: tuple[str, ...] = ()

    @property
    def is_called(self) -> bool:
        """Whether the model calls it, with the algorithms of the cost model."""
        return not self.stands_for

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.names[0] if len(self.names) == 1 else f"{self.names[0]} and {len(self.names) - 1} more"


@dataclass(frozen=True)
class SkippedKernel:
    """A kernel that is not tuned, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Tasks:
    """What a model offers to tune, the most promising first, and what it does not."""

    tuned: tuple[TuningTask, ...]
    skipped: tuple[SkippedKernel, ...]


def find_tasks(program: Program, target: TargetSpec, layers: Iterable[Layer] = ()) -> Tasks:
    """The tasks of a program that is lowered and not scheduled.

    Args:
        program: The program, all stages before SCHEDULED done.
        target: What it will be scheduled for.
        layers: Those of its calls that several algorithms can compute.
    """
    calls = _calls(program.module)
    groups: dict[str, list[tuple[str, tirx.PrimFunc]]] = {}
    for var, function in program.module.functions.items():
        if isinstance(function, tirx.PrimFunc):
            groups.setdefault(workload_key(function), []).append((var.name_hint, function))
    tuned, skipped = [], []
    for key, members in groups.items():
        names = tuple(name for name, _ in members)
        found = _task(key, names, sum(calls[name] for name in names), members[0][1], target)
        if isinstance(found, TuningTask):
            tuned.append(found)
        else:
            skipped += [SkippedKernel(name, found) for name in names]
    tuned.sort(key=lambda task: -task.calls * (task.flops or 0))
    return Tasks(tuple(_with_alternatives(tuned, layers, target)), tuple(skipped))


def _with_alternatives(
    tuned: Iterable[TuningTask], layers: Iterable[Layer], target: TargetSpec
) -> Iterator[TuningTask]:
    """Each task, and behind it those of the algorithms that its layer could take instead."""
    layer_of = {made.workload: layer for layer in layers for made in layer.alternatives}
    for task in tuned:
        alternatives = layer_of[task.workload].alternatives if task.workload in layer_of else ()
        keys = tuple(made.workload for made in alternatives)
        own = next((made.algorithm for made in alternatives if made.workload == task.workload), None)
        yield replace(task, algorithm=own, layer=keys)
        for made in alternatives:
            names = tuple(f"{name} as {made.algorithm}" for name in task.names)
            other = _task(made.workload, names, task.calls, made.function, target)
            if made.workload != task.workload and isinstance(other, TuningTask):
                yield replace(other, algorithm=made.algorithm, layer=keys, stands_for=task.names)


def _task(
    key: str, names: tuple[str, ...], calls: int, function: tirx.PrimFunc, target: TargetSpec
) -> TuningTask | str:
    """The task, or why the kernel is none."""
    reason = _why_not_measured(function)
    if reason is not None:
        return reason
    collector = CandidateCollector[Any]()
    scheduled = schedule_function(function, target, collector)
    if collector.default is None or scheduled.refused is not None:
        return f"its schedule ({scheduled.anchor}) has no knobs"
    if len(collector.candidates) == 1:
        return f"its schedule ({scheduled.anchor}) has one choice of knobs alone"
    work = kernel_work(function)
    flops = work.flops if isinstance(work.flops, int) else None
    return TuningTask(key, names, calls, function, scheduled.anchor, collector.default, collector.candidates, flops)


def _why_not_measured(function: tirx.PrimFunc) -> str | None:
    buffers = [parameter for parameter in function.params if tirx.is_buffer_var(parameter)]
    if any(not isinstance(dim, tirx.IntImm) for buffer in buffers for dim in buffer.shape):
        return SYMBOLIC_REASON
    if len(buffers) < len(function.params):
        return "it takes numbers that are known at run time alone"
    outputs = [
        str(buffer.dtype) for buffer, written in zip(buffers, written_parameters(function), strict=True) if written
    ]
    unlike = sorted(set(outputs) - set(_EXACT_DTYPES))
    if unlike:
        return f"its results are {', '.join(unlike)}, which are not compared on a device"
    return None


def written_parameters(function: tirx.PrimFunc) -> Sequence[bool]:
    """For each parameter, whether the kernel writes it."""
    stores: list[tirx.BufferStore] = []
    structural_walk(function.body, (tirx.BufferStore, stores.append))
    return [any(store.buffer.same_as(parameter) for store in stores) for parameter in function.params]


def _calls(module: tvm.IRModule) -> Counter[str]:
    """How often the main graph calls each kernel."""
    found: Counter[str] = Counter()

    def count(call: relax.Call) -> None:
        for argument in call.args:
            if isinstance(argument, tvm.ir.GlobalVar):
                found[argument.name_hint] += 1

    for function in module.functions.values():
        if isinstance(function, relax.Function):
            structural_walk(function, (relax.Call, count))
    return found
