"""ONNX file to ``Program``: the stages of import in order."""

from __future__ import annotations

from pathlib import Path

import tvm
from tvm import relax, tirx

from lepton_compiler.core.contracts import check_contract
from lepton_compiler.core.errors import UnsupportedOperatorError
from lepton_compiler.core.options import CompileOptions, Dim
from lepton_compiler.core.program import ModelSource, PassRecord, Program, Rewrite, Stage
from lepton_compiler.frontend.check_shapes import check_shapes
from lepton_compiler.frontend.convert_graph import GraphConverter
from lepton_compiler.frontend.input_shapes import InputSpec, resolve_inputs
from lepton_compiler.frontend.load_model import LoadedModel, load_model
from lepton_compiler.frontend.unsupported import describe_refusals
from lepton_compiler.targets.spec import TargetSpec

IMPORT = "import"
"""What the history calls the import: no pass, and the first to change a node."""


def import_model(path: Path, options: CompileOptions, target: TargetSpec) -> Program:
    """Imports an ONNX model.

    Args:
        path: The ONNX file; external data lies in its folder.
        options: ``input_shapes`` is what counts here.
        target: What the program will be compiled for.

    Returns:
        The program at stage IMPORTED.

    Raises:
        ModelError: The file can't be read or is no valid ONNX model, or types or shapes in it don't fit together.
        UnsupportedOperatorError: Nodes can't be converted; the message lists all of them by operator.
        InputError: ``options.input_shapes`` does not fit the model.
    """
    model = load_model(Path(path))
    inputs = resolve_inputs(model.proto.graph, options.input_shapes)
    check_shapes(model.path, model.proto, model.opsets, inputs)
    module, folded = _convert(model, inputs)
    check_contract(module, Stage.IMPORTED)
    source = ModelSource(
        name=model.path.name,
        sha256=model.sha256,
        opset=model.opsets.get("", 0),
        metadata={entry.key: entry.value for entry in model.proto.metadata_props},
    )
    record = PassRecord(IMPORT, Stage.IMPORTED, folded)
    return Program(module, target, source, history=(record,), precision=options.precision)


def _convert(model: LoadedModel, inputs: tuple[InputSpec, ...]) -> tuple[tvm.IRModule, tuple[Rewrite, ...]]:
    """The module, and which of the model's nodes it needs no operator for."""
    parameters = _parameters(inputs)
    builder = relax.BlockBuilder()
    converter = GraphConverter(model, builder)
    with builder.function("main", parameters):
        outputs = converter.convert({spec.name: var for spec, var in zip(inputs, parameters, strict=True)})
        builder.emit_func_output(relax.Tuple(outputs))
    if converter.refusals:
        raise UnsupportedOperatorError(describe_refusals(model.path, converter.refusals))
    module = builder.get()
    names = {
        "input_names": [spec.name for spec in inputs],
        "output_names": [output.name for output in model.proto.graph.output],
    }
    module.update_func(module.get_global_var("main"), module["main"].with_attrs(names))
    # Bindings that are no outputs become dataflow variables, which is what TVM's passes look at.
    return relax.transform.ConvertToDataflow(min_size=1)(module), tuple(converter.folded)


def _parameters(inputs: tuple[InputSpec, ...]) -> list[relax.Var]:
    symbols: dict[str, tirx.Var] = {}

    def size(dim: Dim) -> int | tirx.Var:
        return symbols.setdefault(dim, tirx.Var(dim, "int64")) if isinstance(dim, str) else dim

    return [relax.Var(spec.name, relax.TensorType([size(dim) for dim in spec.shape], spec.dtype)) for spec in inputs]
