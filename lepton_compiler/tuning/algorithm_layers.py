"""Layers that can be computed by several algorithms: the kernel of each, and what tuning logs know of them.

    packed with the direct algorithm     --> lowered --> conv1+relu1: fused_conv2d_relu            w1-05...
    packed with F(2x2, 3x3) everywhere   --> lowered --> conv1+relu1: fused_winograd2_conv2d_relu  w1-3a...
    packed with F(4x4, 3x3) everywhere   --> lowered --> conv1+relu1: fused_winograd4_conv2d_relu  w1-c1...

An alternative is a kernel like any other, with everything that is fused into it: it has a workload key, knobs and
records of its own. The model is packed and lowered once for each algorithm; a layer is a call that stands in all of
these for the same nodes and has several kernels. A new algorithm, or another element type, needs no more here than its
name in ``WinogradPolicy.algorithms``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import tvm
from tvm import tirx

from lepton_compiler.core.contracts import bindings
from lepton_compiler.core.lone_operators import kernel_of
from lepton_compiler.core.node_names import parts_of
from lepton_compiler.core.pass_base import Pass
from lepton_compiler.passes.winograd.measured_algorithms import LayerTimes, MeasuredTime
from lepton_compiler.targets.spec import TargetSpec
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.ranking import Kernel, conditions_of, refusal_of
from lepton_compiler.tuning.record import TunedTarget
from lepton_compiler.tuning.workload_key import workload_key


@dataclass(frozen=True)
class Alternative:
    """One way to compute a layer.

    Attributes:
        algorithm: Its name.
        workload: Key of the kernel.
        function: The kernel, unscheduled.
    """

    algorithm: str
    workload: str
    function: tirx.PrimFunc


@dataclass(frozen=True)
class Layer:
    """A call of the lowered model that several algorithms can compute.

    Attributes:
        name: Name of the call: its nodes.
        alternatives: The most exact first.
    """

    name: str
    alternatives: tuple[Alternative, ...]


class MeasuredAlgorithms:
    """What logs know of a model's layers; see ``AlgorithmSource``.

    Attributes:
        layers: Those of the model that was asked about last.
    """

    def __init__(self, database: Database, lowering: Sequence[Pass], *, without_records: bool = False) -> None:
        """Sets a source up.

        Args:
            database: The logs.
            lowering: The passes from a packed module to a lowered one.
            without_records: Whether layers are looked for where no record can say anything of them as well.
        """
        self.layers: tuple[Layer, ...] = ()
        self._database = database
        self._lowering = lowering
        self._always = without_records

    def find(
        self, algorithms: Sequence[str], pack: Callable[[str], tvm.IRModule], target: TargetSpec
    ) -> Mapping[str, LayerTimes]:
        """See ``AlgorithmSource``."""
        tuned = TunedTarget.of(target)
        if not self._always and all(kernel.target != tuned for kernel in self._database.kernels()):
            return {}
        lowered = {name: self._lower(pack(name), target) for name in algorithms}
        self.layers = tuple(_layers(lowered))
        found = {layer.name: self._times(layer, tuned) for layer in self.layers}
        # Nothing is said of a node that several layers compute.
        nodes = Counter(node for name in found for node in parts_of(name))
        return {
            node: times
            for name, times in found.items()
            for node in parts_of(name)
            if times is not None and nodes[node] == 1
        }

    def _lower(self, module: tvm.IRModule, target: TargetSpec) -> tvm.IRModule:
        for pass_ in self._lowering:
            module = pass_.run(module.clone(), target).module
        return module

    def _times(self, layer: Layer, target: TunedTarget) -> LayerTimes | None:
        """None where the logs say nothing."""
        groups: dict[object, dict[str, MeasuredTime]] = {}
        refused: dict[str, str] = {}
        for alternative in layer.alternatives:
            kernel = Kernel(alternative.workload, target)
            refusal = refusal_of(self._database.trials(*kernel))
            if refusal is not None:
                reason = refusal.record.outcome.reason
                refused[alternative.algorithm] = f"{reason} ({refusal.log}:{refusal.line})"
            for best, *_ in self._database.ranked_alike(kernel):
                assert best.record.median_s is not None, "right trials have times"
                time = MeasuredTime(best.record.median_s, f"{best.log}:{best.line}")
                groups.setdefault(conditions_of(best.record), {})[alternative.algorithm] = time
        return LayerTimes(tuple(groups.values()), refused) if groups or refused else None


def _layers(lowered: Mapping[str, tvm.IRModule]) -> Iterator[Layer]:
    """The calls that all modules have, and that have different kernels in them."""
    calls = {algorithm: called_kernels(module) for algorithm, module in lowered.items()}
    first, *others = calls
    for name in calls[first]:
        if all(name in calls[other] for other in others):
            # Where an algorithm is not possible, the kernel is that of a more exact one.
            distinct: dict[str, Alternative] = {}
            for algorithm in calls:
                key, function = calls[algorithm][name]
                distinct.setdefault(key, Alternative(algorithm, key, function))
            if len(distinct) > 1:
                yield Layer(name, tuple(distinct.values()))


def called_kernels(module: tvm.IRModule) -> dict[str, tuple[str, tirx.PrimFunc]]:
    """The kernel of each call of the main graph and its key, by the call's name: the nodes that it computes."""
    keys: dict[str, str] = {}
    found = {}
    for binding in bindings(module):
        kernel = kernel_of(binding.value)
        if kernel is not None:
            function = module[kernel]
            if kernel.name_hint not in keys:
                keys[kernel.name_hint] = workload_key(function)
            found[binding.var.name] = keys[kernel.name_hint], function
    return found
