"""Several random operators in one ONNX model: each writes its nodes under a prefix of its own."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import onnx
from onnx import helper

OPSET = 20
IR_VERSION = 9


class OperatorCase(Protocol):
    """One random operator, or several, as plain data: its ``repr`` makes it again.

    Attributes:
        amplification: How much more of an error than that of one operator what follows may make of it.
    """

    amplification: ClassVar[float]

    def write(self, graph: CaseGraph) -> tuple[str, str]:
        """Adds the nodes; the names of the operator's own result and of the one behind its epilogue."""
        ...


class CaseGraph:
    """The nodes, inputs and constants of one or more cases.

    All values are multiples of 1/8, so that sums of products of them are exact in float32 in any order: only functions,
    divisions and Winograd's transforms round.

    Args:
        cases: What to write; a case has the same values in any company.
    """

    def __init__(self, cases: Sequence[OperatorCase]) -> None:
        self.feeds: dict[str, np.ndarray] = {}
        self.anchors: list[str] = []
        self.outputs: list[str] = []
        self._declared: list[onnx.ValueInfoProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []
        for number, case in enumerate(cases):
            self._prefix, self._names = f"case{number}", 0
            self._random = np.random.default_rng(zlib.crc32(repr(case).encode()))
            anchor, output = case.write(self)
            self.anchors.append(anchor)
            self.outputs.append(output)

    def input(self, *shape: int, symbolic: bool | Collection[int] = False, limit: int = 16) -> str:
        """A fed tensor, whose values are up to ``limit / 8``.

        Args:
            shape: Its sizes.
            symbolic: Which axes are declared by a name; True for the first one.
            limit: Eight times the largest value.
        """
        name = self._new_name("input")
        dims: list[int | str] = [*shape]
        for axis in [0] if symbolic is True else symbolic or []:
            dims[axis] = f"{self._prefix}_{'nabc'[axis]}"
        self.feeds[name] = self._values(shape, limit)
        self._declared.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims))
        return name

    def constant(self, *shape: int, limit: int = 8, positive: bool = False) -> str:
        """A random weight; a positive one is at least 1/2."""
        values = self._values(shape, limit)
        return self.given(np.abs(values) + np.float32(0.5) if positive else values)

    def given(self, value: np.ndarray) -> str:
        """A constant of this value."""
        name = self._new_name("constant")
        self._constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """One node with one output; attributes that are None are left away."""
        name = self._new_name(operator)
        self._nodes.append(helper.make_node(operator, inputs, [name], name, domain=domain, **attributes))
        return name

    def model(self, *, with_anchors: bool = False) -> onnx.ModelProto:
        """The model; ``with_anchors`` makes what the operators compute before their epilogues outputs too."""
        names = list(dict.fromkeys([*self.outputs, *(self.anchors if with_anchors else [])]))
        outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
        graph = helper.make_graph(self._nodes, "cases", self._declared, outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _new_name(self, kind: str) -> str:
        self._names += 1
        return f"{self._prefix}_{kind}{self._names}"

    def _values(self, shape: Sequence[int], limit: int) -> np.ndarray:
        return self._random.integers(-limit, limit, shape, endpoint=True).astype(np.float32) / 8
