"""Names, values and operator set versions that hold while a part of the graph is walked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from lepton_compiler.frontend.conversion import ConversionError
from lepton_compiler.frontend.operator_census import node_name


@dataclass
class Scope:
    """Names and operator versions that hold in a graph, a subgraph or a function body.

    Attributes:
        values: Values by ONNX name.
        opsets: Operator set versions by domain.
        prefix: What inner nodes' names start with.
        final_names: Node names that the bindings of certain outputs must carry instead of their own.
        outer: The scope around a subgraph; a function body has none.
        declared: Shapes that the model declares for tensors of this scope, where every dimension is a number.
    """

    values: dict[str, Any]
    opsets: Mapping[str, int]
    prefix: str = ""
    final_names: Mapping[str, str] = field(default_factory=dict)
    outer: Scope | None = None
    declared: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def is_model(self) -> bool:
        """Whether this is the model's own graph, no subgraph and no function body."""
        return self.outer is None and not self.prefix

    def lookup(self, name: str) -> Any:
        """The value of ``name`` here or in the scopes around."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        raise ConversionError(f'the tensor "{name}" is used before anything computes it')

    def name_of(self, node: onnx.NodeProto) -> str:
        """The name for the node's binding."""
        for output in node.output:
            if output in self.final_names:
                return self.final_names[output]
        return self.prefix + node_name(node)


@dataclass(frozen=True)
class LazyTensor:
    """An initializer that nothing has asked for yet; big ones are read once, when they are used."""

    proto: onnx.TensorProto
