"""Walks the ONNX graph in order and turns every node into Relax bindings that carry its name.

For each node the first of these that applies is taken: computed now, because its inputs are known; a converter of
``operators/``; TVM's converter; the function body that the model or ONNX defines for it. A node that none of them can
handle is noted and the walk goes on, so that one run finds everything that a model needs.
"""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - registers bfloat16 and float8 with NumPy, which ONNX tensors may have
import numpy as np
import onnx
import tvm
from tvm import relax, tirx, topi

from lepton_compiler.core.abi import MAX_TENSOR_BYTES
from lepton_compiler.core.errors import InternalError
from lepton_compiler.core.program import Rewrite
from lepton_compiler.frontend import fold_constants, function_bodies, shape_operators, tvm_converters, unrolled_loops
from lepton_compiler.frontend.conversion import Conversion, ConversionError
from lepton_compiler.frontend.declared_shapes import declared_shapes, empty_inputs, shapes_before
from lepton_compiler.frontend.load_model import LoadedModel
from lepton_compiler.frontend.onnx_schemas import why_unknown
from lepton_compiler.frontend.onnx_values import densify, node_attributes, type_of
from lepton_compiler.frontend.operator_census import CONTROL_FLOW, canonical_domain, why_unsupported
from lepton_compiler.frontend.operators.registry import Converter, find_converter, find_run_time_converter
from lepton_compiler.frontend.scope import LazyTensor, Scope
from lepton_compiler.frontend.shape_values import ShapeValue
from lepton_compiler.frontend.unsupported import Refusal

_TVM_FOLDER = Path(tvm.__file__).parent
# What the tracebacks of TVM's errors name for frames of C++ and of its Cython bridge.
_COMPILED_SOURCES = (".cc", ".h", ".pxi")


class _Unavailable:
    """Stands for the output of a node that was refused; what uses it is not looked at."""


_UNAVAILABLE = _Unavailable()


class GraphConverter:
    """Converts one model.

    Attributes:
        refusals: The nodes that could not be converted.
        folded: The model's own nodes, those of subgraphs and functions left out, that need no operator, and why.
    """

    def __init__(self, model: LoadedModel, builder: relax.BlockBuilder) -> None:
        self.refusals: list[Refusal] = []
        self.folded: list[Rewrite] = []
        self._model = model
        self._builder = builder
        self._functions = function_bodies.local_functions(model.proto)
        self._constants: dict[int, tuple[np.ndarray, relax.Expr]] = {}

    def convert(self, inputs: Mapping[str, relax.Var]) -> list[relax.Expr]:
        """Emits the whole graph.

        Args:
            inputs: The function's parameters, by ONNX name.

        Returns:
            One expression per graph output; meaningless when ``refusals`` is not empty.
        """
        graph = self._model.proto.graph
        values = {**self._initializers(graph), **inputs, **empty_inputs(inputs)}
        scope = Scope(values, self._model.opsets, declared=declared_shapes(graph))
        self._walk(graph.node, scope)
        if self.refusals:
            return []
        return self._outputs([output.name for output in graph.output], scope, inputs)

    def _outputs(self, names: Sequence[str], scope: Scope, inputs: Mapping[str, relax.Var]) -> list[relax.Expr]:
        """Graph outputs; one that is an input, a constant or comes twice is copied into a tensor of its own."""
        taken: list[relax.Expr] = list(inputs.values())
        outputs = []
        for name in names:
            value = self._read(name, scope)
            conversion = self._conversion("Identity", name, 1, [value], {}, [name])
            value = conversion.tensor(0)
            if isinstance(value, tvm.ir.GenericConst) or any(value.same_as(other) for other in taken):
                value = conversion.bind(conversion.call_te(topi.identity, value, name="copy"), name)
            taken.append(value)
            outputs.append(value)
        return outputs

    def _initializers(self, graph: onnx.GraphProto) -> dict[str, Any]:
        values: dict[str, Any] = {tensor.name: LazyTensor(tensor) for tensor in graph.initializer}
        for sparse in graph.sparse_initializer:
            values[sparse.values.name] = densify(sparse)
        return values

    def _walk(self, nodes: Sequence[onnx.NodeProto], scope: Scope) -> None:
        for node in nodes:
            try:
                results = self._convert_node(node, scope)
            except ConversionError as error:
                self.refusals.append(Refusal(_operator_label(node), scope.name_of(node), str(error)))
                results = [_UNAVAILABLE] * len(node.output)
            if scope.is_model:
                self._note_folding(node, results, scope)
            for name, value in zip(node.output, results, strict=False):
                if name:
                    scope.values[name] = value

    def _note_folding(self, node: onnx.NodeProto, results: Sequence[Any], scope: Scope) -> None:
        what = [_folding(value) for name, value in zip(node.output, results, strict=False) if name]
        if not what or None in what:
            # Where an input is handed on, its name is that of another node.
            given = [scope.values.get(name) for name in node.input]
            if not any(value is result for value in given for result in results if isinstance(value, relax.Expr)):
                return
            what = ["gives back its input: no operator needed"]
        self.folded.append(Rewrite(scope.name_of(node), what[0] or ""))

    def _read(self, name: str, scope: Scope) -> Any:
        """The value of a name; constants that converters have used are Relax constants only once."""
        value = scope.lookup(name)
        if isinstance(value, LazyTensor):
            value = self._model.read_tensor(value.proto)
            owner: Scope | None = scope
            while owner is not None and name not in owner.values:
                owner = owner.outer
            if owner is not None:
                owner.values[name] = value
        return value

    def _convert_node(self, node: onnx.NodeProto, scope: Scope) -> Sequence[Any]:
        inputs = [self._read(name, scope) if name else None for name in node.input]
        domain = canonical_domain(node.domain)
        function = self._functions.get(function_bodies.function_key(node))
        if any(isinstance(value, _Unavailable) for value in inputs):
            # What the operator alone rules out is reported in the same run as what stands before it.
            reason = why_unsupported(node, scope.opsets) if function is None else None
            if reason is not None:
                raise ConversionError(reason)
            return [_UNAVAILABLE] * len(node.output)
        if function is not None:
            return self._call_function(node, function, inputs, scope)
        unknown = why_unknown(node, scope.opsets.get(domain, 1))
        if unknown is not None:
            raise ConversionError(unknown)
        if domain == "" and node.op_type in CONTROL_FLOW:
            if node.op_type == "If":
                return self._convert_if(node, inputs, scope)
            return self._convert_loop(node, inputs, scope)
        version = scope.opsets.get(domain, 1)
        known = self._compute_now(node, domain, version, inputs)
        if known is not None:
            return known
        return self._convert_operator(node, domain, version, inputs, scope)

    def _compute_now(
        self, node: onnx.NodeProto, domain: str, version: int, inputs: Sequence[Any]
    ) -> Sequence[Any] | None:
        if domain != "":
            return None
        symbolic = any(isinstance(value, ShapeValue) for value in inputs)
        if symbolic or node.op_type in ("Shape", "Size"):
            return shape_operators.evaluate(node.op_type, inputs, node_attributes(node), len(node.output))
        if all(value is None or isinstance(value, np.ndarray | list) for value in inputs):
            return fold_constants.fold_node(node, inputs, version)
        return None

    def _convert_operator(
        self, node: onnx.NodeProto, domain: str, version: int, inputs: Sequence[Any], scope: Scope
    ) -> Sequence[Any]:
        name = scope.name_of(node)
        declared = [scope.declared.get(output) for output in node.output]
        conversion = self._conversion(node.op_type, name, version, inputs, node_attributes(node), node.output, declared)
        unknown = [i for i, value in enumerate(inputs) if isinstance(value, relax.Expr)]
        converter = find_run_time_converter(domain, node.op_type, unknown)
        if converter is None:
            converter = find_converter(domain, node.op_type, version)
        if converter is not None:
            return self._bind(conversion, _run_converter(converter, conversion))
        if tvm_converters.is_available(domain, node.op_type):
            return self._bind(conversion, tvm_converters.convert(conversion, node))
        body = function_bodies.schema_function(node, version, [type_of(value) for value in inputs])
        if body is not None:
            return self._call_function(node, body, inputs, scope)
        raise ConversionError(why_unsupported(node, scope.opsets) or "ONNX defines no body for these types")

    def _conversion(
        self,
        op: str,
        name: str,
        version: int,
        inputs: Sequence[Any],
        attributes: dict[str, Any],
        outputs: Sequence[str],
        declared: Sequence[tuple[int, ...] | None] = (),
    ) -> Conversion:
        return Conversion(self._builder, op, name, version, inputs, attributes, outputs, self._constants, declared)

    def _bind(self, conversion: Conversion, result: Any) -> list[Any]:
        """Binds what a converter gave back; the last binding of the node carries its plain name."""
        if isinstance(result, list | tuple | relax.Tuple):
            results = list(result.fields) if isinstance(result, relax.Tuple) else list(result)
            return [self._bind_one(conversion, value, i) for i, value in enumerate(results)]
        bound = self._bind_one(conversion, result, 0)
        if not isinstance(bound, relax.Expr) or not isinstance(bound.ty, relax.TupleType):
            return [bound]
        fields = range(min(len(bound.ty.fields), len(conversion.output_names)))
        return [conversion.emit(relax.TupleGetItem(bound, i)) for i in fields]

    def _bind_one(self, conversion: Conversion, value: Any, index: int) -> Any:
        if not isinstance(value, relax.Expr) or isinstance(value, relax.Var | tvm.ir.GenericConst):
            return value
        name = conversion.name if index == 0 else f"{conversion.name}/out{index}"
        try:
            bound = conversion.bind(value, name)
        except ValueError as error:
            # Relax infers the result's type when it is bound; an inconsistent model is found here.
            raise ConversionError(f"its inputs' types or shapes don't fit together: {_reason(error)}") from error
        if isinstance(bound.ty, relax.TensorType) and bound.ty.shape is None:
            raise ConversionError(_unknown_shape(conversion))
        if isinstance(bound.ty, relax.TensorType):
            _check_sizes(bound.ty)
        return bound

    def _call_function(
        self, node: onnx.NodeProto, function: onnx.FunctionProto, inputs: Sequence[Any], scope: Scope
    ) -> list[Any]:
        name = scope.name_of(node)
        bound = function_bodies.attribute_bindings(node, function)
        values = dict(zip(function.input, [*inputs, *[None] * (len(function.input) - len(inputs))], strict=False))
        own = {canonical_domain(entry.domain): entry.version for entry in function.opset_import}
        opsets = {**scope.opsets, **own}
        finals = {function.output[0]: name} if function.output else {}
        names = zip(function.output, node.output, strict=False)
        declared = {inside: scope.declared[outside] for inside, outside in names if outside in scope.declared}
        inner = Scope(dict(values), opsets, f"{name}/", finals, declared=shapes_before(function.node, declared))
        before = len(self.refusals)
        self._walk([function_bodies.bind_attributes(n, bound) for n in function.node], inner)
        if len(self.refusals) > before:
            return [_UNAVAILABLE] * len(node.output)
        # A body need not compute the optional outputs that the node leaves out.
        pairs = zip(function.output, node.output, strict=False)
        return [self._read(inside, inner) if outside else None for inside, outside in pairs]

    def _convert_if(self, node: onnx.NodeProto, inputs: Sequence[Any], scope: Scope) -> list[Any]:
        condition = inputs[0]
        if not isinstance(condition, np.ndarray):
            raise ConversionError(
                "its condition is known only at run time, and run-time control flow can't be compiled"
            )
        attributes = {attribute.name: attribute for attribute in node.attribute}
        branch = attributes["then_branch" if condition.reshape(-1)[0] else "else_branch"].g
        name = scope.name_of(node)
        finals = {branch.output[0].name: name} if branch.output else {}
        results = self._run_subgraph(branch, {}, scope, f"{name}/", finals)
        return [_UNAVAILABLE] * len(node.output) if results is None else results

    def _convert_loop(self, node: onnx.NodeProto, inputs: Sequence[Any], scope: Scope) -> list[Any]:
        graph = next(attribute.g for attribute in node.attribute if attribute.name == "body")
        version = scope.opsets.get("", 1)
        attributes = node_attributes(node)
        declared = [scope.declared.get(output) for output in node.output]
        conversion = self._conversion(
            node.op_type, scope.name_of(node), version, inputs, attributes, node.output, declared
        )

        def run_body(values: Mapping[str, Any], prefix: str) -> list[Any] | None:
            return self._run_subgraph(graph, values, scope, prefix, {})

        convert = unrolled_loops.convert_loop if node.op_type == "Loop" else unrolled_loops.convert_scan
        results = convert(conversion, graph, run_body)
        return [_UNAVAILABLE] * len(node.output) if results is None else results

    def _run_subgraph(
        self,
        graph: onnx.GraphProto,
        values: Mapping[str, Any],
        scope: Scope,
        prefix: str,
        final_names: Mapping[str, str],
    ) -> list[Any] | None:
        """Outputs of a subgraph, None where one of its nodes was refused."""
        known = {**self._initializers(graph), **values}
        inner = Scope(known, scope.opsets, prefix, final_names, scope, declared_shapes(graph))
        before = len(self.refusals)
        self._walk(graph.node, inner)
        if len(self.refusals) > before:
            return None
        return [self._read(output.name, inner) for output in graph.output]


def _folding(value: Any) -> str | None:
    """How a value is known while importing; None where it exists only when the model runs."""
    if isinstance(value, np.ndarray | tvm.ir.GenericConst):
        return "folded to a constant while importing"
    return "computed from the inputs' sizes, without a kernel" if isinstance(value, ShapeValue) else None


def _run_converter(converter: Converter, conversion: Conversion) -> Any:
    """What a converter gives.

    Raises:
        ConversionError: The converter refuses the node, or TVM or NumPy find that its types or shapes don't fit.
        InternalError: The converter is wrong.
    """
    try:
        return converter(conversion)
    except ConversionError:
        raise
    except Exception as error:
        reason = _reason(error)
        if isinstance(error, ValueError) or _is_raised_by_tvm(error):
            raise ConversionError(f"its converter does not handle this node: {reason}") from error
        where = f"{converter.__module__}.{converter.__qualname__}"
        raise InternalError(
            f'the converter {where} failed on node "{conversion.name}" ({conversion.op}): '
            f"{type(error).__name__}: {reason}; please report this with the model"
        ) from error


def _reason(error: Exception) -> str:
    """The first line of an error, with TVM's print-outs of operators and sizes cut down to names and numbers."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    line = re.sub(r"\bT\.int(?:32|64)\((\d+)\)", r"\1", line)
    return re.sub(r'ir\.Op\(.*?name="([\w.]+)".*?support_level=\d+\)', r"\1", line)


def _is_raised_by_tvm(error: Exception) -> bool:
    """Whether the innermost frame is TVM's: its Python code, or C++, whose errors come as Python's own types."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and (
        Path(frames[-1].filename).is_relative_to(_TVM_FOLDER) or frames[-1].filename.endswith(_COMPILED_SOURCES)
    )


def _check_sizes(tensor: relax.TensorType) -> None:
    """Refuses results that have no meaning or that no memory could hold."""
    sizes = [int(size) if isinstance(size, tirx.IntImm) else None for size in tensor.shape.values]
    shape = "[" + ",".join(str(size) for size in tensor.shape.values) + "]"
    if any(size is not None and size < 0 for size in sizes):
        raise ConversionError(f"its result would have the shape {shape}")
    if math.prod(size for size in sizes if size is not None) > MAX_TENSOR_BYTES:
        raise ConversionError(f"its result would have the shape {shape}, which no memory could hold")


def _operator_label(node: onnx.NodeProto) -> str:
    domain = canonical_domain(node.domain)
    return f"{domain}.{node.op_type}" if domain else node.op_type


def _unknown_shape(conversion: Conversion) -> str:
    shapes = [str(list(value.ty.shape.values)) for value in conversion.inputs if isinstance(value, relax.Expr)]
    return (
        f"the shape of its result does not follow from its inputs' shapes ({', '.join(shapes)}); where two symbols "
        "always mean the same size, give them one name with --input-shapes"
    )
