"""What the installed ``onnx`` package knows of an operator: whether it exists, and since which operator set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import onnx

from lepton_compiler.frontend.function_bodies import FunctionKey, function_key, local_functions

_UNKNOWN_DOMAIN = "lepton.unknown"
_DEFAULT_DOMAINS = ("", "ai.onnx")
# onnx (1.17 to 1.23) crashes in the inference of these where the type of their input is not known, which is so behind
# an operator of another domain.
_CRASHING = frozenset({"EyeLike", "RegexFullMatch"})


def is_onnx_operator(op: str) -> bool:
    """Whether any version of ONNX's own operator set has the operator."""
    return onnx.defs.has(op, "")


def why_unknown(node: onnx.NodeProto, version: int) -> str | None:
    """Why ONNX's operator set ``version`` has no such operator; None where it has, or the domain is another."""
    if node.domain not in _DEFAULT_DOMAINS or onnx.defs.has(node.op_type, version, ""):
        return None
    newest = onnx.defs.onnx_opset_version()
    if onnx.defs.has(node.op_type, newest, ""):
        first = next(v for v in range(1, newest + 1) if onnx.defs.has(node.op_type, v, ""))
        return f"ONNX has it since operator set {first}, the model uses {version}"
    return f"ONNX's operator set {version} has no operator of this name"


def has_unknown_operators(model: onnx.ModelProto, opsets: Mapping[str, int]) -> bool:
    """Whether ONNX's checker would stop at a node because its operator does not exist."""
    return any(why_unknown(node, version) is not None for node, version in _nodes(model, opsets))


def put_unknown_operators_apart(model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
    """Moves nodes of operators that don't exist to a domain of their own, in place, so that ONNX checks the others."""
    for node, version in list(_nodes(model, opsets)):
        if why_unknown(node, version) is not None:
            node.domain = _UNKNOWN_DOMAIN
    for owner in (model, *model.functions):
        owner.opset_import.append(onnx.helper.make_opsetid(_UNKNOWN_DOMAIN, 1))


def remove_what_inference_does_not_know(model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
    """Removes nodes, in place, beside which ONNX's shape inference says nothing of the others, or would crash."""
    functions = local_functions(model)
    version = opsets.get("", 1)
    _remove(model.graph.node, functions, version)
    for function in model.functions:
        _remove(function.node, functions, _own_version(function, version))


def _remove(nodes: Any, functions: Mapping[FunctionKey, onnx.FunctionProto], version: int) -> None:
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        is_unknown = node.domain not in _DEFAULT_DOMAINS or why_unknown(node, version) is not None
        if node.op_type in _CRASHING or (is_unknown and function_key(node) not in functions):
            del nodes[index]
            continue
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _remove(attribute.g.node, functions, version)


def _own_version(function: onnx.FunctionProto, outside: int) -> int:
    return next((entry.version for entry in function.opset_import if entry.domain in _DEFAULT_DOMAINS), outside)


def _nodes(model: onnx.ModelProto, opsets: Mapping[str, int]) -> Iterator[tuple[onnx.NodeProto, int]]:
    """All nodes that call no function of the model, with the version of ONNX's operator set that holds for them."""
    functions = local_functions(model)
    version = opsets.get("", 1)
    for node in _nodes_below(model.graph.node, functions):
        yield node, version
    for function in model.functions:
        for node in _nodes_below(function.node, functions):
            yield node, _own_version(function, version)


def _nodes_below(
    nodes: Iterable[onnx.NodeProto], functions: Mapping[FunctionKey, onnx.FunctionProto]
) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        if function_key(node) not in functions:
            yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes_below(attribute.g.node, functions)
