"""PackedActivations: which tensors of a graph have a packed form ``[n, C/v, *spatial, v]``, and how to come by it.

    pack(x)     [n, C, h, w]       ->  [n, C/v, v, h, w]  ->  [n, C/v, h, w, v]      channels filled up with zeros first
    unpack(x)   [n, C/v, h, w, v]  ->  [n, C/v, v, h, w]  ->  [n, C, h, w]           without those channels

A node of a packed region leaves its packed result here and stands in the graph for its unpacked one; whoever reads it
and wants the packed form finds it here. Unpacking that nobody needs disappears with the rest of the dead bindings.
"""

from __future__ import annotations

import numpy as np
from tvm import relax, tirx

from lepton_compiler.core.errors import InternalError
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.layout.channels_last import pack_channels_last
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement
from lepton_compiler.passes.precision.bfloat16_tensors import stored_operand


class PackedActivations:
    """The packed forms of a graph's tensors.

    Args:
        graph: The graph that is being rewritten.
        lanes: ``v``, channels of one vector.
    """

    def __init__(self, graph: MainGraph, lanes: int) -> None:
        self.graph = graph
        self.lanes = lanes
        self._packed: dict[relax.Var, relax.Var] = {}

    def is_packed(self, expr: relax.Expr) -> bool:
        """Whether a tensor has a packed form already."""
        return isinstance(expr, relax.Var) and expr in self._packed

    def packed(self, expr: relax.Expr, fill: float = 0.0) -> relax.Expr:
        """The packed form of a tensor ``[n, C, *spatial]``, which is made where there is none.

        Args:
            expr: A variable or a constant.
            fill: What the channels behind a constant's last one hold.
        """
        array = array_of(expr)
        if array is not None:
            return constant(pack_channels(array, self.lanes, fill))
        if expr not in self._packed:
            self._packed[expr] = self._pack(expr)
        return self._packed[expr]

    def stored(self, expr: relax.Expr) -> relax.Expr | None:
        """The packed form of the bfloat16 tensor that ``expr`` is the float32 form of; None where it is none."""
        if self.is_packed(expr):
            return stored_operand(self.graph, self._packed[expr])
        stored = stored_operand(self.graph, expr)
        return None if stored is None else self.packed(stored)

    def stand_in(self, node: Node, packed: relax.Expr, what: str) -> Replacement:
        """Makes ``packed``, a value of the new function, the result of a node."""
        value = packed if isinstance(packed, relax.Var) else self.graph.emit(node.name, packed)
        channels = int(node.var.ty.shape.values[1])
        self._check(node, value, channels)
        plain = self.unpacked(node.name, value, channels)
        self._packed[plain] = value
        return Replacement(plain, what)

    def _check(self, node: Node, value: relax.Var, channels: int) -> None:
        """A form with fewer lanes would broadcast where it must not, and be read behind its end."""
        shape = value.ty.shape.values
        vectors = -(-channels // self.lanes)
        if (_known(shape[1]), _known(shape[-1])) != (vectors, self.lanes):
            raise InternalError(
                f"pack-activations: node {node.name} of {channels} channels takes {vectors} vectors of {self.lanes}, "
                f"but its packed form is {value.ty}"
            )

    def _pack(self, expr: relax.Var) -> relax.Var:
        batch, channels, *spatial = expr.ty.shape.values
        missing = -int(channels) % self.lanes
        name = f"{expr.name}/packed"
        definition = self.graph.definition(expr)
        if isinstance(definition, relax.Call) and definition.op.name == "relax.permute_dims":
            vectors = pack_channels_last(self.graph, name, definition, self.lanes)
            if vectors is not None:
                return vectors
        if missing:
            widths = [0, 0, 0, missing, *([0, 0] * len(spatial))]
            expr = self.graph.emit(name, relax.op.nn.pad(expr, widths))
        blocks = (int(channels) + missing) // self.lanes
        split = self.graph.emit(name, relax.op.reshape(expr, (batch, blocks, self.lanes, *spatial)))
        if all(is_one(size) for size in spatial):
            return self.graph.emit(name, relax.op.reshape(split, (batch, blocks, *spatial, self.lanes)))
        order = [0, 1, *range(3, 3 + len(spatial)), 2]
        return self.graph.emit(name, relax.op.permute_dims(split, order))

    def unpacked(self, name: str, value: relax.Expr, channels: int) -> relax.Var:
        """The plain form ``[n, channels, *spatial]`` of a packed value, which the node ``name`` computes."""
        batch, blocks, *spatial, lanes = value.ty.shape.values
        name = f"{name}/unpacked"
        if int(blocks) == 1 and channels < int(lanes):
            # Only these are moved.
            last = [len(spatial) + 2]
            value = self.graph.emit(name, relax.op.strided_slice(value, last, [0], [channels], assume_inbound=True))
            lanes = channels
        if not all(is_one(size) for size in spatial):
            order = [0, 1, 2 + len(spatial), *range(2, 2 + len(spatial))]
            value = self.graph.emit(name, relax.op.permute_dims(value, order))
        filled = self.graph.emit(name, relax.op.reshape(value, (batch, int(blocks) * int(lanes), *spatial)))
        if channels == int(blocks) * int(lanes):
            return filled
        return self.graph.emit(name, relax.op.strided_slice(filled, [1], [0], [channels], assume_inbound=True))


def _known(size: tirx.Expr) -> int | None:
    return int(size) if isinstance(size, tirx.IntImm) else None


def is_one(size: tirx.Expr) -> bool:
    """Whether a size is the number 1."""
    return _known(size) == 1


def is_empty(ty: relax.TensorType) -> bool:
    """Whether a tensor is known to have no elements; layout transforms of such ones divide by zero."""
    return any(_known(size) == 0 for size in ty.shape.values)


def pack_channels(array: np.ndarray, lanes: int, fill: float = 0.0) -> np.ndarray:
    """Packs ``[n, C, *spatial]`` to ``[n, ceil(C / lanes), *spatial, lanes]``."""
    missing = -array.shape[1] % lanes
    widths = [(0, missing if axis == 1 else 0) for axis in range(array.ndim)]
    filled = np.pad(array, widths, constant_values=array.dtype.type(fill)) if missing else array
    blocks = filled.reshape(array.shape[0], -1, lanes, *array.shape[2:])
    return np.ascontiguousarray(np.moveaxis(blocks, 2, -1))
