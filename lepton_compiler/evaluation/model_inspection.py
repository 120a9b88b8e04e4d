"""What an ONNX file asks of the compiler: inputs, operators with who converts them, and statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from tvm import relax, tirx

from lepton_compiler.core.contracts import bindings
from lepton_compiler.core.errors import UnsupportedOperatorError
from lepton_compiler.core.options import CompileOptions, Dim
from lepton_compiler.core.program import Program
from lepton_compiler.evaluation.model_statistics import (
    ModelStatistics,
    Shape,
    infer_shapes,
    model_statistics,
    value_shape,
)
from lepton_compiler.frontend import tvm_converters
from lepton_compiler.frontend.function_bodies import has_schema_function
from lepton_compiler.frontend.importer import import_model
from lepton_compiler.frontend.input_shapes import InputSpec, resolve_inputs
from lepton_compiler.frontend.load_model import load_model
from lepton_compiler.frontend.operator_census import CONTROL_FLOW, OperatorUse, node_name, take_census
from lepton_compiler.frontend.operators.registry import find_converter
from lepton_compiler.targets.registry import TARGETS

NO_CONVERTER = "none"


@dataclass(frozen=True)
class OperatorSupport:
    """One operator of a model.

    Attributes:
        operator: Its name, with the domain where that is not ONNX's own.
        nodes: Names of the nodes that use it.
        converter: Whose converter takes it: ``"constant"`` (known at compile time), ``"lepton"``, ``"tvm"``,
            ``"function body"`` (replaced by the body that the model or ONNX defines for it), ``"control flow"``, or
            ``"none"``.
        reason: Why it can't be imported, None where it can as far as is known before shapes are.
    """

    operator: str
    nodes: tuple[str, ...]
    converter: str
    reason: str | None


@dataclass(frozen=True)
class OutputTensor:
    """An output with the shape that follows from the inputs; None where ONNX can't infer it, or its type."""

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class ModelInspection:
    """Everything that ``lepton inspect`` says of an ONNX file.

    Attributes:
        file: Name of the file.
        producer: Program that wrote it.
        opsets: Version of each operator set by domain.
        inputs: Inputs with the requested shapes in place.
        outputs: Outputs.
        operators: Operators, most frequent first.
        refusal: Why the model can't be imported, as ``lepton compile`` would say it; None where it can.
        statistics: Counts; multiply-accumulates for batch 1 where the first dimension is symbolic.
        batch_is_one: Whether a symbolic first dimension was counted as 1.
    """

    file: str
    producer: str
    opsets: dict[str, int]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputTensor, ...]
    operators: tuple[OperatorSupport, ...]
    refusal: str | None
    statistics: ModelStatistics
    batch_is_one: bool


def inspect_model(path: Path, input_shapes: Mapping[str, tuple[Dim, ...]]) -> ModelInspection:
    """Reads and checks an ONNX file without compiling it.

    Raises:
        ModelError: The file can't be read or is no valid ONNX model.
        InputError: ``input_shapes`` does not fit the model.
    """
    model = load_model(path)
    inputs = resolve_inputs(model.proto.graph, input_shapes)
    counted_shapes = {spec.name: _with_batch_one(spec.shape) for spec in inputs}
    batch_is_one = any(counted_shapes[spec.name] != spec.shape for spec in inputs)
    program, refusal = _try_import(path, input_shapes)
    counted_program = _try_import(path, counted_shapes)[0] if batch_is_one else program
    uses = sorted(take_census(model.proto, model.opsets), key=lambda use: -len(use.nodes))
    return ModelInspection(
        file=path.name,
        producer=f"{model.proto.producer_name} {model.proto.producer_version}".strip(),
        opsets=dict(model.opsets),
        inputs=inputs,
        outputs=_outputs(model.proto, program),
        operators=tuple(
            OperatorSupport(use.label, tuple(use.nodes), _converter_of(use, model.opsets), use.reason) for use in uses
        ),
        refusal=refusal,
        statistics=model_statistics(infer_shapes(model.proto, counted_shapes), _shapes(model.proto, counted_program)),
        batch_is_one=batch_is_one,
    )


def _try_import(path: Path, input_shapes: Mapping[str, tuple[Dim, ...]]) -> tuple[Program | None, str | None]:
    """The imported program, or why there is none. Importing doesn't depend on the target, so any will do."""
    target = next(iter(TARGETS.values()))
    try:
        return import_model(path, CompileOptions(input_shapes=input_shapes), target), None
    except UnsupportedOperatorError as error:
        return None, str(error)


def _shapes(model: onnx.ModelProto, program: Program | None) -> dict[str, Shape]:
    """Shapes by ONNX tensor name, from the bindings that carry the nodes' names."""
    if program is None:
        return {}
    by_node = {binding_name(binding.var.name): _shape(binding.var.ty) for binding in bindings(program.module)}
    nodes = [node for node in model.graph.node if len(node.output) == 1]
    found = {node.output[0]: by_node.get(binding_name(node_name(node))) for node in nodes}
    return {name: shape for name, shape in found.items() if shape is not None}


def binding_name(node: str) -> str:
    """How the program calls a node: TVM's builder writes an underscore for a dot."""
    return node.replace(".", "_")


def _shape(ty: Any) -> Shape | None:
    """Dimensions of a Relax tensor type: sizes, and symbolic ones as text."""
    if not isinstance(ty, relax.TensorType) or ty.shape is None:
        return None
    return tuple(int(dim) if isinstance(dim, tirx.IntImm) else str(dim) for dim in ty.shape.values)


def _outputs(model: onnx.ModelProto, program: Program | None) -> tuple[OutputTensor, ...]:
    """Outputs as imported, else as the file declares them."""
    if program is None:
        return tuple(
            OutputTensor(value.name, _declared_dtype(value), value_shape(value)) for value in model.graph.output
        )
    types = program.module["main"].ret_ty.fields
    return tuple(
        OutputTensor(value.name, str(ty.dtype.dtype), _shape(ty))
        for value, ty in zip(model.graph.output, types, strict=True)
    )


def _declared_dtype(value: onnx.ValueInfoProto) -> str | None:
    kind = value.type.tensor_type.elem_type
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind else None


def _with_batch_one(shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """A symbolic first dimension is a batch in practice, and counts are given for one item."""
    return (1, *shape[1:]) if shape and isinstance(shape[0], str) else shape


def _converter_of(use: OperatorUse, opsets: Mapping[str, int]) -> str:
    """The first in the importer's order: the model's functions, own converters, TVM's, ONNX's function bodies."""
    if use.is_function:
        return "function body"
    if use.reason is not None and use.domain == "":
        return NO_CONVERTER
    if use.domain == "" and use.op == "Constant":
        return "constant"
    version = opsets.get(use.domain, 1)
    if find_converter(use.domain, use.op, version) is not None:
        return "lepton"
    if use.domain == "" and use.op in CONTROL_FLOW:
        return "control flow"
    if tvm_converters.is_available(use.domain, use.op):
        return "tvm"
    if has_schema_function(use.domain, use.op, version):
        return "function body"
    return NO_CONVERTER
