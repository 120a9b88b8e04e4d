"""Which operators a model uses, how often and where, and whether each can be imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx

from lepton_compiler.frontend import function_bodies, tvm_converters
from lepton_compiler.frontend.function_bodies import FunctionKey
from lepton_compiler.frontend.onnx_schemas import why_unknown
from lepton_compiler.frontend.operators.registry import find_converter

CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
_REFUSED = {
    **dict.fromkeys(
        tvm_converters.DATA_DEPENDENT, "the size of its result depends on data, which is known only at run time"
    ),
}


@dataclass
class OperatorUse:
    """One operator of a model.

    Attributes:
        domain: Operator domain, ``""`` for ONNX's own.
        op: Operator type.
        nodes: Names of the nodes that use it.
        reason: Why it can't be imported, None where it can as far as is known before the nodes are looked at.
        is_function: Whether the model brings its body along.
    """

    domain: str
    op: str
    reason: str | None
    nodes: list[str] = field(default_factory=list)
    is_function: bool = False

    @property
    def label(self) -> str:
        """The operator with its domain, as messages write it."""
        return f"{self.domain}.{self.op}" if self.domain else self.op


def take_census(model: onnx.ModelProto, opsets: Mapping[str, int]) -> list[OperatorUse]:
    """Every operator of the model's graph, its subgraphs and the bodies of the functions that it calls."""
    functions = function_bodies.local_functions(model)
    uses: dict[tuple[str, str], OperatorUse] = {}
    for node, versions in _nodes(model.graph.node, functions, dict(opsets), ()):
        domain = canonical_domain(node.domain)
        key = (domain, node.op_type)
        if key not in uses:
            is_function = function_bodies.function_key(node) in functions
            reason = None if is_function else why_unsupported(node, versions)
            uses[key] = OperatorUse(domain, node.op_type, reason, is_function=is_function)
        uses[key].nodes.append(node_name(node))
    return list(uses.values())


def canonical_domain(domain: str) -> str:
    """ONNX's own domain has two spellings."""
    return "" if domain == "ai.onnx" else domain


def node_name(node: onnx.NodeProto) -> str:
    """The node's name, or that of its first output where it has none."""
    return node.name or next((name for name in node.output if name), node.op_type)


def why_unsupported(node: onnx.NodeProto, versions: Mapping[str, int]) -> str | None:
    """Why no node of this operator can be imported, None where some can."""
    domain = canonical_domain(node.domain)
    version = versions.get(domain, 1)
    unknown = why_unknown(node, version)
    if unknown is not None:
        return unknown
    if find_converter(domain, node.op_type, version) is not None:
        return None
    if domain == "" and (node.op_type in CONTROL_FLOW or tvm_converters.is_available(domain, node.op_type)):
        return None
    if function_bodies.has_schema_function(node.domain, node.op_type, version):
        return None
    # A node may still be computed at compile time, when all that it needs is constant.
    if domain == "" and node.op_type in _REFUSED:
        return _REFUSED[node.op_type]
    return "Lepton has no converter for it"


def _nodes(
    nodes: Iterator[onnx.NodeProto],
    functions: Mapping[FunctionKey, onnx.FunctionProto],
    versions: dict[str, int],
    callers: tuple[FunctionKey, ...],
) -> Iterator[tuple[onnx.NodeProto, dict[str, int]]]:
    """All nodes with the operator set versions that hold for them; a call of a local function, then its body."""
    for node in nodes:
        yield node, versions
        key = function_bodies.function_key(node)
        function = functions.get(key)
        if function is not None and key not in callers:
            inner = {canonical_domain(entry.domain): entry.version for entry in function.opset_import}
            yield from _nodes(function.node, functions, inner, (*callers, key))
            continue
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g.node, functions, versions, callers)
