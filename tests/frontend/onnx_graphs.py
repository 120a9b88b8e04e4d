"""Small ONNX graphs for the frontend's tests, and the two ways to run one: imported, and by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import helper
from tvm import relax

from lepton_compiler.core.contracts import bindings
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.core.program import Program
from lepton_compiler.driver import compile_model
from lepton_compiler.frontend.importer import import_model
from lepton_compiler.runtime.model import load
from lepton_compiler.targets.registry import get_target

TARGET = get_target("x86-64-v3")
OPSET = 17
IR_VERSION = 8
CONTRIB = "com.microsoft"


@dataclass(frozen=True)
class Case:
    """One node with its inputs: arrays are fed when the model runs, ``Const`` ones are initializers."""

    op: str
    inputs: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    domain: str = ""


@dataclass(frozen=True)
class Const:
    """An input that the model knows."""

    value: np.ndarray


def dtype_code(array: np.ndarray) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Sequence[int | str | None]]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = OPSET,
    functions: Sequence[onnx.FunctionProto] = (),
) -> Path:
    """Writes a model; inputs by name with element type and shape."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    for output in graph.output:
        output.type.tensor_type.elem_type = onnx.TensorProto.UNDEFINED
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(CONTRIB, 1)]
    opsets += [helper.make_opsetid(f.domain, 1) for f in functions]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=list(functions))
    inferred = _with_output_types(model)
    path.write_bytes(inferred.SerializeToString())
    return path


def _with_output_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime wants typed outputs; where shape inference can't tell, float is the type."""
    inferred = onnx.shape_inference.infer_shapes(model)
    for output in inferred.graph.output:
        if not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return inferred


def _declare_ranks(path: Path, results: Sequence[np.ndarray]) -> None:
    """Gives outputs without a shape the rank that they have; the checker wants one of contrib operators too."""
    model = onnx.load(path)
    for output, result in zip(model.graph.output, results, strict=True):
        if not output.type.tensor_type.HasField("shape"):
            shape = helper.make_tensor_value_info(output.name, dtype_code(result), [None] * result.ndim)
            output.CopyFrom(shape)
    onnx.save(model, path)


def import_file(path: Path, **input_shapes: tuple[int | str, ...]) -> Program:
    return import_model(path, CompileOptions(input_shapes=input_shapes), TARGET)


def binding_names(program: Program) -> list[str]:
    return [binding.var.name for binding in bindings(program.module)]


def operators(program: Program) -> list[str]:
    """Names of the operators and kernels of ``main``, in order."""
    calls = [binding.value for binding in bindings(program.module) if isinstance(binding.value, relax.Call)]
    return [call.args[0].name_hint if call.op.name == "relax.call_tir" else call.op.name for call in calls]


def run_program(program: Program, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Runs an imported program as TVM itself compiles it: what is tested here is the import, not our schedules."""
    executable = tvm.compile(program.module, tvm.target.Target("llvm"))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    arguments = [tvm.runtime.tensor(feeds[str(name)]) for name in program.module["main"].attrs["input_names"]]
    return [tensor.numpy() for tensor in machine["main"](*arguments)]


def run_artifact(path: Path, feeds: Mapping[str, np.ndarray], **input_shapes: tuple[int | str, ...]) -> np.ndarray:
    """Runs a model with one output as the library that it is compiled to, with our passes and schedules."""
    options = CompileOptions(target="native", input_shapes=input_shapes)
    library = path.with_suffix(".so")
    compile_model(path, library, options)
    with load(library) as model:
        (result,) = model(**feeds).values()
    return result


def run_reference(path: Path, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    outputs = session.run(None, {name: value for name, value in feeds.items() if name in names})
    return [np.asarray(output) for output in outputs]


def check_cases(
    cases: Sequence[Case], folder: Path, opset: int = OPSET, rtol: float = 1e-5, atol: float = 1e-5
) -> Program:
    """Imports all cases as one model, runs it, and compares every output with ONNX Runtime's."""
    nodes, inputs, constants, outputs = [], {}, {}, []
    feeds: dict[str, np.ndarray] = {}
    for number, case in enumerate(cases):
        names = []
        for position, value in enumerate(case.inputs):
            name = f"x{number}_{position}"
            names.append("" if value is None else name)
            if isinstance(value, Const):
                constants[name] = value.value
            elif value is not None:
                feeds[name] = value
                inputs[name] = (dtype_code(value), value.shape)
        results = [f"y{number}_{i}" for i in range(case.outputs)]
        outputs += results
        nodes.append(helper.make_node(case.op, names, results, f"node{number}", domain=case.domain, **case.attributes))
    path = save(folder / "cases.onnx", nodes, inputs, outputs, constants, opset)
    wanted = run_reference(path, feeds)
    _declare_ranks(path, wanted)
    program = import_file(path)
    for name, have, want in zip(outputs, run_program(program, feeds), wanted, strict=True):
        case = cases[int(name[1:].split("_")[0])]
        label = f"{case.op} {dict(case.attributes)} output {name}"
        assert have.dtype == want.dtype, label
        assert have.shape == want.shape, label
        np.testing.assert_allclose(have, want, rtol, atol, err_msg=label)
    return program
