"""DecomposeBatchNorm: a batch norm that could not be folded becomes elementwise arithmetic.

batch_norm(x)                  ->   x * s + t                                    (constant statistics)
batch_norm(x, g, b, m, v)      ->   (x - m) / sqrt(v + epsilon) * g + b          (statistics computed at run time)
batch_norm(..., training).1    ->   (1 - momentum) * m + momentum * mean(x)      (likewise the variance)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.passes.canonicalize.batch_norms import scale_and_shift
from lepton_compiler.passes.canonicalize.constant_arrays import along_axis, array_of, constant
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class DecomposeBatchNorm(Pass):
    """Writes batch norms as multiplications and additions, so that they fuse like any elementwise operator."""

    required: ClassVar[bool] = True

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Decomposes every batch norm that is left."""
        return rewrite_main(module, _decompose)


def _decompose(graph: MainGraph, node: Node) -> Replacement | None:
    if not isinstance(node.value, relax.TupleGetItem):
        return None
    norm = graph.definition(node.value.tuple_value)
    if norm is None or operator_name(norm) != "relax.nn.batch_norm":
        return None
    writer = _Writer(graph, node.name, norm)
    if node.value.index == 0:
        return writer.normalized()
    return writer.statistic(node.value.index)


@dataclass(frozen=True)
class _Writer:
    """Emits the arithmetic of one batch norm under its node's name."""

    graph: MainGraph
    name: str
    norm: relax.Call

    def normalized(self) -> Replacement:
        """The normalized tensor."""
        parameters = scale_and_shift(self.norm)
        if isinstance(parameters, str):
            return Replacement(self._with_computed_statistics(), f"written as arithmetic, since {parameters}")
        data = self.norm.args[0]
        scale, shift = (self._along_channels(vector) for vector in parameters)
        scaled = self._emit(relax.op.multiply(data, scale))
        return Replacement(relax.op.add(scaled, shift), "written as a multiplication and an addition")

    def statistic(self, index: int) -> Replacement:
        """The running mean (index 1) or variance (index 2) after this batch."""
        running = self.norm.args[2 + index]
        if not self.norm.attrs.training:
            return Replacement(running, "statistics don't change in inference: its input taken instead")
        momentum = float(self.norm.attrs.momentum)
        of_batch = self._batch_statistics()[index - 1]
        kept = self._emit(relax.op.multiply(running, self._scalar(1 - momentum)))
        flat = self._emit(relax.op.reshape(of_batch, running.ty.shape))
        added = self._emit(relax.op.multiply(flat, self._scalar(momentum)))
        return Replacement(relax.op.add(kept, added), "written as the moving average of the batch's statistics")

    def _with_computed_statistics(self) -> relax.Expr:
        data, gamma, beta, mean, variance = self.norm.args
        if self.norm.attrs.training:
            mean, variance = self._batch_statistics()
        else:
            mean, variance = self._channels(mean), self._channels(variance)
        deviation = self._emit(
            relax.op.sqrt(self._emit(relax.op.add(variance, self._scalar(float(self.norm.attrs.epsilon)))))
        )
        result = relax.op.divide(self._emit(relax.op.subtract(data, mean)), deviation)
        if self.norm.attrs.scale:
            result = relax.op.multiply(self._emit(result), self._channels(gamma))
        if self.norm.attrs.center:
            result = relax.op.add(self._emit(result), self._channels(beta))
        return result

    def _batch_statistics(self) -> tuple[relax.Expr, relax.Expr]:
        data = self.norm.args[0]
        axes = [i for i in range(self._rank) if i != self._axis]
        mean = self._emit(relax.op.mean(data, axes, keepdims=True))
        difference = self._emit(relax.op.subtract(data, mean))
        square = self._emit(relax.op.multiply(difference, difference))
        return mean, self._emit(relax.op.mean(square, axes, keepdims=True))

    @property
    def _rank(self) -> int:
        return self.norm.args[0].ty.ndim

    @property
    def _axis(self) -> int:
        return int(self.norm.attrs.axis) % self._rank

    @property
    def _dtype(self) -> str:
        return str(self.norm.args[0].ty.dtype)

    def _emit(self, value: relax.Expr) -> relax.Var:
        return self.graph.emit(self.name, value)

    def _scalar(self, value: float) -> relax.Expr:
        return relax.const(value, self._dtype)

    def _along_channels(self, vector: np.ndarray) -> relax.Expr:
        return constant(along_axis(vector, self._rank, self._axis).astype(self._dtype))

    def _channels(self, vector: relax.Expr) -> relax.Expr:
        """A vector reshaped to broadcast along the channel axis."""
        array = array_of(vector)
        if array is not None:
            return self._along_channels(array)
        extent = vector.ty.shape.values[0]
        return self._emit(relax.op.reshape(vector, [extent if i == self._axis else 1 for i in range(self._rank)]))
