"""Checks types, ranks, axes and sizes before anything is converted: with ONNX's own shape inference, and beyond it.

ONNX's checker looks at one node at a time and knows no shapes, so that an axis outside of its tensor or a window larger
than its image passes it. Shape inference in its strict mode refuses these. It is run on a copy without large
weights and with the shapes that the user asked for; what the model declares of other tensors' shapes is left out,
because a stale declaration is no fault of a node.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx

from lepton_compiler.core.errors import LeptonWarning, ModelError, UnsupportedOperatorError
from lepton_compiler.frontend.input_shapes import InputSpec
from lepton_compiler.frontend.onnx_schemas import is_onnx_operator, remove_what_inference_does_not_know
from lepton_compiler.frontend.operator_census import CONTROL_FLOW, canonical_domain, node_name, take_census
from lepton_compiler.frontend.unsupported import Refusal, describe_refusals

Shape = tuple["int | str | None", ...]
_Check = Callable[[onnx.NodeProto, Sequence["Shape | None"]], "str | None"]

# Larger initializers stand in the copy as inputs: inference reads the values of shapes, axes and the like only.
_LARGEST_KEPT_BYTES = 64 << 10
_OLDEST_IR_VERSION = 8
_ERROR = re.compile(r"\(op_type:(?P<op>[^,()]+)(?:, node name: (?P<node>.*?))?\): (?=\[\w+Error\])", re.DOTALL)
_KIND = re.compile(r"\[\w+Error\] ")
_TYPE_MISFIT = re.compile(r"Inferred elem type differs from existing elem type: \((\d+)\) vs \((\d+)\)")
_NESTED = "Inference error(s): "
# What inference says of nodes without fault: onnx (1.17 to 1.23) takes a vector whose length is not known for an empty
# one; and a tensor has no type behind a node that was refused or that ONNX doesn't know.
_NO_FAULT = re.compile(r"input 'sizes' \(0\)|null|expected to have (tensor type|type info)|was not a tensor")
_TYPE_MISFIT = re.compile(r"Inferred elem type differs from existing elem type: \((\d+)\) vs \((\d+)\)")
_NESTED = "Inference error(s): "
# What inference says of nodes without fault: onnx (1.17 to 1.23) takes a vector whose length is not known for an empty
# one; and a tensor has no type behind a node that was refused or that ONNX doesn't know.
_NO_FAULTS = ("input 'sizes' (0)", "but instead is null")
_WINDOWED = frozenset({"AveragePool", "Conv", "ConvInteger", "ConvTranspose", "LpPool", "MaxPool", "QLinearConv"})


def check_shapes(path: Path, model: onnx.ModelProto, opsets: Mapping[str, int], inputs: Sequence[InputSpec]) -> None:
    """Refuses a model whose types or shapes don't fit together, and warns of outputs that are declared otherwise.

    Args:
        path: The model's file, for messages.
        model: The checked model.
        opsets: Version of each operator set.
        inputs: The model's inputs with the shapes that they will have.

    Raises:
        UnsupportedOperatorError: Something doesn't fit, and there are operators that can't be imported as well.
        ModelError: A type, rank, axis or size doesn't fit; the message lists every node.
    """
    problems, shapes = _infer(_skeleton(model, opsets, inputs))
    problems += [
        f"{where}: {reason}"
        for where, reason in _problems_of_shapes(model, shapes)
        if not any(problem.startswith(f"{where}: ") for problem in problems)
    ]
    if problems:
        text = f"{path} is not a valid ONNX model: {_joined(problems)}"
        unsupported = [
            Refusal(use.label, node, use.reason)
            for use in take_census(model, opsets)
            if use.reason is not None
            for node in use.nodes
        ]
        if unsupported:
            raise UnsupportedOperatorError(f"{describe_refusals(path, unsupported)}\n{text}")
        raise ModelError(text)
    _warn_of_declarations(path, model.graph, shapes)


def _joined(problems: Sequence[str]) -> str:
    return problems[0] if len(problems) == 1 else "".join(f"\n  {problem}" for problem in problems)


def _skeleton(model: onnx.ModelProto, opsets: Mapping[str, int], inputs: Sequence[InputSpec]) -> onnx.ModelProto:
    """The model without large weights and declared shapes, its inputs in the shapes that they will have."""
    skeleton = onnx.ModelProto(ir_version=max(model.ir_version, _OLDEST_IR_VERSION))
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(model.functions)
    graph, source = skeleton.graph, model.graph
    graph.name = source.name or "graph"
    graph.node.extend(source.node)
    graph.sparse_initializer.extend(source.sparse_initializer)
    declared = {value.name: value.type.tensor_type.elem_type for value in source.input}
    for spec in inputs:
        graph.input.append(onnx.helper.make_tensor_value_info(spec.name, declared[spec.name], spec.shape))
    for tensor in source.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.ByteSize() > _LARGEST_KEPT_BYTES:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            graph.initializer.append(tensor)
    graph.value_info.extend(_without_shapes(source.value_info))
    graph.output.extend(_without_shapes(source.output))
    remove_what_inference_does_not_know(skeleton, opsets)
    return skeleton


def _without_shapes(values: Sequence[onnx.ValueInfoProto]) -> Iterator[onnx.ValueInfoProto]:
    for value in values:
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(value)
        if copy.type.HasField("tensor_type"):
            copy.type.tensor_type.ClearField("shape")
        yield copy


def _infer(skeleton: onnx.ModelProto) -> tuple[list[str], dict[str, Shape]]:
    """What ONNX finds wrong, one sentence a node, and the shapes that it computes, by tensor name."""
    problems: list[str] = []
    try:
        inferred = onnx.shape_inference.infer_shapes(skeleton, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        problems = _sentences(str(error))
        inferred = onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
    graph = inferred.graph
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims
            )
    return problems, shapes


def _sentences(text: str) -> list[str]:
    """The inference's message as one sentence a node, without what is wrong about ONNX's own function bodies."""
    found = list(_ERROR.finditer(text))
    if not found:
        return [" ".join(_KIND.sub("", text).split())]
    sentences: list[str] = []
    calls, inside_of_onnx = "", False
    for number, match in enumerate(found):
        end = found[number + 1].start() if number + 1 < len(found) else len(text)
        reason = _KIND.sub("", text[match.end() : end])
        where = f'node "{match["node"]}" ({match["op"]})' if match["node"] else f"a node {match['op']} without a name"
        if reason.strip() == _NESTED.strip():
            # What follows is inside of the function that this node calls, up to an empty line.
            calls += f"{where}, inside of it: "
            inside_of_onnx |= is_onnx_operator(match["op"]) and match["op"] not in CONTROL_FLOW
            continue
        if not inside_of_onnx and not _NO_FAULT.search(reason):
            sentences.append(f"{calls}{where}: {_plain(reason)}")
        if reason.endswith("\n\n"):
            calls, inside_of_onnx = "", False
    return sentences


def _plain(reason: str) -> str:
    """One line, with element types by name."""
    misfit = _TYPE_MISFIT.search(reason)
    if misfit is None:
        return " ".join(reason.split())
    computed, declared = (onnx.TensorProto.DataType.Name(int(number)) for number in misfit.groups())
    return f"its output is declared as {declared}, but is {computed}"


def _problems_of_shapes(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> list[tuple[str, str]]:
    """What inference lets pass, as node and reason: negative sizes, windows that fit nowhere, ..."""
    problems = []
    for node in model.graph.node:
        if canonical_domain(node.domain) != "":
            continue
        inputs = [shapes.get(name) for name in node.input]
        results = [shapes[name] for name in node.output if name in shapes]
        reason = _negative_size(results) or _empty_windows(node, inputs, results)
        check = _CHECKS.get(node.op_type)
        if reason is None and check is not None:
            reason = check(node, inputs)
        if reason is not None:
            problems.append((f'node "{node_name(node)}" ({node.op_type})', reason))
    return problems


def _negative_size(results: Sequence[Shape]) -> str | None:
    for shape in results:
        if any(isinstance(size, int) and size < 0 for size in shape):
            return f"its result would have the shape {_text(shape)}"
    return None


def _empty_windows(node: onnx.NodeProto, inputs: Sequence[Shape | None], results: Sequence[Shape]) -> str | None:
    if node.op_type not in _WINDOWED or inputs[0] is None or 0 in inputs[0]:
        return None
    for shape in results:
        if 0 in shape:
            return f"its result would be empty, with the shape {_text(shape)}: the window is larger than its input"
    return None


def _convolution_misfit(node: onnx.NodeProto, inputs: Sequence[Shape | None]) -> str | None:
    """Channels, groups and window of a convolution against its weights [out, in / group, ...]."""
    data, weights = inputs[0], inputs[3 if node.op_type == "QLinearConv" else 1]
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if weights is None:
        return None
    if data is not None and len(data) != len(weights):
        return f"its input has {len(data)} dimensions, {_text(data)}, its weights {len(weights)}, {_text(weights)}"
    group = attributes["group"].i if "group" in attributes else 1
    window = tuple(attributes["kernel_shape"].ints) if "kernel_shape" in attributes else None
    if group < 1:
        return f"group is {group}, which must be at least 1"
    if window is not None and any(
        isinstance(size, int) and size != wanted for size, wanted in zip(weights[2:], window, strict=False)
    ):
        return f"kernel_shape is {_text(window)}, its weights have the shape {_text(weights)}"
    channels = data[1] if data is not None and len(data) > 1 else None
    inside = weights[1]
    if isinstance(channels, int) and isinstance(inside, int) and channels != inside * group:
        return (
            f"its input has {channels} channels, its weights {_text(weights)} with group {group} need {inside * group}"
        )
    if isinstance(weights[0], int) and weights[0] % group:
        return f"{weights[0]} output channels can't be parted into {group} groups"
    return None


def _axis_misfit(node: onnx.NodeProto, inputs: Sequence[Shape | None]) -> str | None:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    data = inputs[0]
    if data is None or -len(data) <= axis < len(data):
        return None
    return f"axis {axis} lies outside of its input, which has {len(data)} dimensions"


def _even_size(node: onnx.NodeProto, inputs: Sequence[Shape | None]) -> str | None:
    del inputs
    size = next((attribute.i for attribute in node.attribute if attribute.name == "size"), 1)
    return None if size > 0 and size % 2 else f"size is {size}, which must be odd and positive"


_CHECKS: dict[str, _Check] = {
    "Conv": _convolution_misfit,
    "ConvInteger": _convolution_misfit,
    "QLinearConv": _convolution_misfit,
    "GatherElements": _axis_misfit,
    "LRN": _even_size,
    "ScatterElements": _axis_misfit,
}


def _warn_of_declarations(path: Path, graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> None:
    """Outputs of another shape than declared are compiled as computed, with a warning, as ONNX Runtime does."""
    for value in graph.output:
        computed = shapes.get(value.name)
        if computed is None or not value.type.tensor_type.HasField("shape"):
            continue
        declared = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in value.type.tensor_type.shape.dim
        )
        pairs = zip(declared, computed, strict=False)
        if len(declared) != len(computed) or any(
            isinstance(a, int) and isinstance(b, int) and a != b and a >= 0 for a, b in pairs
        ):
            warnings.warn(
                f'{path} declares the shape {_text(declared)} for output "{value.name}", but computes '
                f"{_text(computed)}, which is what the compiled model gives",
                LeptonWarning,
                stacklevel=2,
            )


def _text(shape: Sequence[int | str | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"
