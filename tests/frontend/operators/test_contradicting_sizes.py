"""Symbolic sizes that contradict each other: the compiled model says so, and neither crashes nor makes something up.

Each operator that relies on a relation between sizes has a case here. It runs with sizes that fit, where ONNX Runtime
says what is right, and with sizes that don't.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import Const, dtype_code, import_file, run_reference, save

import lepton_compiler
from lepton_compiler.core.errors import InputError, ModelError, UnsupportedOperatorError
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model

TOLERANCE = 1e-5
OPSET = 20


@dataclass(frozen=True)
class Sizes:
    """One node: the shapes of its inputs in symbols, and values of the symbols that fit and that don't.

    An input is a shape of float32, a pair of a shape and another element type, a ``Const``, or None.
    """

    op: str
    inputs: Sequence[Any]
    fit: Mapping[str, int]
    wrong: Mapping[str, int]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    domain: str = ""


I64, I32, U8 = np.int64, np.int32, np.uint8
FITTING = {"n": 3, "k": 3}


def const(*values: int) -> Const:
    return Const(np.array(values, np.int64))


def weights(*shape: int) -> Const:
    return Const(np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape))


CASES = [
    Sizes("ScatterElements", [(1, "n"), ((1, "k"), I64), (1, "m")], {"n": 4, "k": 2, "m": 2}, {"n": 4, "k": 2, "m": 3}),
    Sizes("ScatterElements", [(1, "n"), ((1, "k"), I64), (1, "k")], {"n": 4, "k": 2}, {"n": 4, "k": 4_000_000}),
    Sizes("ScatterElements", [("n", 4), (("k", 2), I64), ("k", 2)], {"n": 4, "k": 2}, {"n": 4, "k": 5}, {"axis": 1}),
    Sizes("ScatterND", [("n", 3), (("k", 1), I64), ("m", 3)], {"n": 4, "k": 1, "m": 1}, {"n": 4, "k": 2, "m": 1}),
    Sizes("ScatterND", [("n", "m"), (("k", 1), I64), ("k", "p")], {"n": 4, "k": 1, "m": 3, "p": 3},
          {"n": 4, "k": 1, "m": 3, "p": 2}),
    Sizes("MaxUnpool", [(1, 1, "n", 2), ((1, 1, "k", 2), I64)], FITTING, {"n": 3, "k": 2},
          {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Sizes("Gather", [("n", 4), const(1, -4)], {"n": 4}, {"n": 3}),
    Sizes("GatherElements", [("n", 4), (("k", 2), I64)], {"n": 4, "k": 3}, {"n": 4, "k": 5}, {"axis": 1}),
    Sizes("GatherElements", [("n",), const(2, 0)], {"n": 3}, {"n": 2}),
    Sizes("GatherND", [("n", 4), (("k", 1), I64)], FITTING, {"n": 3, "k": 4}, {"batch_dims": 1}),
    Sizes("Reshape", [("n", 6), const(-1, 4)], {"n": 2}, {"n": 3}),
    Sizes("Reshape", [("n", 6), const(4, 3)], {"n": 2}, {"n": 2000}),
    Sizes("Squeeze", [("n", 2), const(0)], {"n": 1}, {"n": 2}),
    Sizes("DepthToSpace", [(1, "n", 2, 2)], {"n": 8}, {"n": 6}, {"blocksize": 2}),
    Sizes("SpaceToDepth", [(1, 1, "n", 2)], {"n": 4}, {"n": 3}, {"blocksize": 2}),
    Sizes("Split", [("n", 2), const(2, 3)], {"n": 5}, {"n": 9}, outputs=2),
    Sizes("OneHot", [((3,), I64), const(4), ("n",)], {"n": 2}, {"n": 1}),
    Sizes("ReverseSequence", [(2, "n"), (("k",), I64)], FITTING, {"n": 3, "k": 2}),
    Sizes("TopK", [("n",), const(3)], {"n": 4}, {"n": 2}, outputs=2),
    Sizes("Add", [("n", 2), ("k", 2)], FITTING, {"n": 3, "k": 2}),
    Sizes("Where", [(("n",), np.bool_), ("k",), ("m",)], FITTING | {"m": 3}, FITTING | {"m": 2}),
    Sizes("PRelu", [(2, "n"), ("k",)], FITTING, {"n": 3, "k": 2}),
    Sizes("Max", [("n",), ("k",)], FITTING, {"n": 3, "k": 2}),
    Sizes("Concat", [("n", 2), ("k", 2)], FITTING,
                                                                    {"n": 3, "k": 2}, {"axis": 1}),
    Sizes("MatMul", [(2, "n"), ("k", 4)], FITTING, {"n": 3, "k": 2}),
    Sizes("MatMul", [("n", 2, 5), ("k", 5, 2)], FITTING, {"n": 3, "k": 2}),
    Sizes("Gemm", [(2, "n"), ("k", 4)], FITTING, {"n": 3, "k": 2}),
    Sizes("Gemm", [("n", 2), (2, 4), ("k", 4)], FITTING, {"n": 3, "k": 2}),
    Sizes("Gemm", [("n", 2), ("k", 5)], FITTING, {"n": 3, "k": 2}, {"transA": 1}),
    Sizes("Einsum", [(2, "n"), ("k", 4)], FITTING, {"n": 3, "k": 2}, {"equation": "ij,jk->ik"}),
    Sizes("Einsum", [("n", "k")], FITTING, {"n": 3, "k": 2}, {"equation": "ii->i"}),
    Sizes("MatMulInteger", [((2, "n"), U8), (("k", 4), U8)], FITTING, {"n": 3, "k": 2}),
    Sizes("FusedMatMul", [(2, "n"), ("k", 4)], FITTING, {"n": 3, "k": 2}, domain="com.microsoft"),
    Sizes("Conv", [(1, "n", 5, 5), weights(2, 3, 3, 3)], {"n": 3}, {"n": 2}),
    Sizes("ConvTranspose", [(1, "n", 5, 5), weights(3, 2, 3, 3)], {"n": 3}, {"n": 2}),
    Sizes("InstanceNormalization", [(1, "n", 4), ("k",), ("k",)], FITTING, {"n": 3, "k": 2}),
    Sizes("LayerNormalization", [(2, "n"), ("k",), ("k",)], FITTING, {"n": 3, "k": 2}),
    Sizes("GridSample", [("n", 1, 4, 4), ("k", 2, 2, 2)], FITTING, {"n": 3, "k": 2}),
    Sizes("AffineGrid", [("n", 2, 3), const(3, 1, 4, 5)], {"n": 3}, {"n": 2}),
    Sizes("GRU", [("t", "n", 2), weights(1, 6, 2), weights(1, 6, 2), None, None, (1, "k", 2)], FITTING | {"t": 2},
          {"t": 2, "n": 3, "k": 2}, {"hidden_size": 2}, 2),
    Sizes("LSTM", [("t", "n", 2), weights(1, 8, 2), weights(1, 8, 2), None, (("k",), I32)], FITTING | {"t": 2},
          {"t": 2, "n": 3, "k": 2}, {"hidden_size": 2}, 3),
    Sizes("Col2Im", [(1, 4, "n"), const(4, 4), const(2, 2)], {"n": 9}, {"n": 8}),
]  # fmt: skip

# Relax wants these sizes to be known for equal, so that nothing is left for a run to compare.
REFUSED = [
    Sizes("Conv", [(1, 3, 5, 5), ("n", 3, 3, 3), ("k",)], FITTING, {"n": 3, "k": 2}),
    Sizes("BatchNormalization", [(1, "n", 2), *[("k",)] * 4], FITTING, {"n": 3, "k": 2}),
    Sizes("LayerNormalization", [(2, "n"), ("n",), ("k",)], FITTING, {"n": 3, "k": 2}),
    Sizes("RoiAlign", [(2, 1, 6, 6), ("n", 4), (("k",), I64)], FITTING, {"n": 3, "k": 2}),
    Sizes("DequantizeLinear", [((2, "n"), U8), ("k",), (("k",), U8)], FITTING, {"n": 3, "k": 2}, {"axis": 1}),
    Sizes("QuantizeLinear", [(2, "n"), ("k",), (("k",), U8)], FITTING, {"n": 3, "k": 2}, {"axis": 1}),
    Sizes("SkipLayerNormalization", [(2, 2, "n"), (2, 2, "n"), ("k",)], FITTING, {"n": 3, "k": 2},
          domain="com.microsoft"),
]  # fmt: skip


def names(case: Sizes) -> list[str]:
    return [f"x{i}" if given is not None else "" for i, given in enumerate(case.inputs)]


def graph(case: Sizes, folder: Path) -> Path:
    """The model's file."""
    results = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, names(case), results, "n", domain=case.domain, **case.attributes)
    constants = {f"x{i}": given.value for i, given in enumerate(case.inputs) if isinstance(given, Const)}
    inputs = {name: (dtype_code(array), shape) for name, shape, array in _inputs(case, case.fit)}
    path = save(folder / "m.onnx", [node], inputs, results, constants, OPSET)
    model = onnx.load(path)
    for output in model.graph.output:
        if not output.type.tensor_type.HasField("shape"):
            # The checker wants a rank; that of the operators without inference here is the first input's.
            rank = len(model.graph.input[0].type.tensor_type.shape.dim)
            output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [None] * rank))
    onnx.save(model, path)
    return path


def _inputs(case: Sizes, sizes: Mapping[str, int]) -> list[tuple[str, tuple, np.ndarray]]:
    """Name, symbolic shape and values of the inputs that are fed."""
    random = np.random.default_rng(7)
    result = []
    for name, given in zip(names(case), case.inputs, strict=True):
        if given is None or isinstance(given, Const):
            continue
        shape, dtype = given if len(given) == 2 and isinstance(given[0], tuple) else (given, np.float32)
        dims = [sizes.get(dim, dim) for dim in shape]
        values = random.random(dims).astype(dtype) if dtype == np.float32 else np.zeros(dims, dtype)
        result.append((name, shape, values))
    return result


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case.op}" for number, case in enumerate(CASES)])
def test_sizes_that_contradict_each_other(case: Sizes, tmp_path: Path) -> None:
    path = graph(case, tmp_path)
    compile_model(path, tmp_path / "m.so", CompileOptions())
    fitting, wrong = ({name: values for name, _, values in _inputs(case, sizes)} for sizes in (case.fit, case.wrong))
    with lepton_compiler.load(tmp_path / "m.so") as model:
        for _ in range(2):
            have = model(**fitting)
            for value, want in zip(have.values(), run_reference(path, fitting), strict=True):
                np.testing.assert_allclose(value, want, TOLERANCE, TOLERANCE)
            with pytest.raises(InputError, match=r"where the model needs .*: it does not work with these input sizes"):
                model(**wrong)


@pytest.mark.parametrize("case", REFUSED, ids=[f"{number}-{case.op}" for number, case in enumerate(REFUSED)])
def test_sizes_that_nothing_relates_are_refused(case: Sizes, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError):
        import_file(graph(case, tmp_path))


@pytest.mark.parametrize(
    "case", [*CASES, *REFUSED], ids=[f"{number}-{case.op}" for number, case in enumerate([*CASES, *REFUSED])]
)
def test_fixed_sizes_that_contradict_each_other_are_refused(case: Sizes, tmp_path: Path) -> None:
    with pytest.raises((ModelError, UnsupportedOperatorError)):
        import_file(graph(case, tmp_path), **{name: values.shape for name, _, values in _inputs(case, case.wrong)})


def test_a_shape_taken_from_another_input(tmp_path: Path) -> None:
    nodes = [helper.make_node("Shape", ["z"], ["shape"], "s"), helper.make_node("Reshape", ["x", "shape"], ["y"], "r")]
    inputs = {"x": (TensorProto.FLOAT, ("n", 6)), "z": (TensorProto.FLOAT, ("m", 4))}
    compile_model(save(tmp_path / "m.onnx", nodes, inputs, ["y"]), tmp_path / "m.so", CompileOptions())
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    with lepton_compiler.load(tmp_path / "m.so") as model:
        np.testing.assert_array_equal(model(x=x, z=np.zeros((3, 4), np.float32))["y"], x.reshape(3, 4))
        with pytest.raises(InputError, match=r"size n \* 6 at node r/\d is 12 where the model needs m \* 4 = 8000"):
            model(x=x, z=np.zeros((2000, 4), np.float32))


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_an_image_smaller_than_the_window_of_a_pool(operator: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node(operator, ["x"], ["pooled"], "p", kernel_shape=[2, 1], strides=[3, 1]),
        helper.make_node("ReduceSum", ["pooled"], ["y"], "sum"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": (TensorProto.FLOAT, (1, 1, "n", 2))}, ["y"], opset=OPSET)
    compile_model(path, tmp_path / "m.so", CompileOptions())
    image = np.arange(10, dtype=np.float32).reshape(1, 1, 5, 2)
    with lepton_compiler.load(tmp_path / "m.so") as model:
        (want,) = run_reference(path, {"x": image})
        np.testing.assert_allclose(model(x=image)["y"], want, TOLERANCE)
        # ONNX Runtime rounds to one element here and to none where the window is larger still.
        with pytest.raises(InputError, match=r"size 2 at node p/\d is 2 where the model needs min\(2, n\) = 1"):
            model(x=image[:, :, :1])


def test_maxima_of_regions_are_refused(tmp_path: Path) -> None:
    case = Sizes("RoiAlign", [(2, 1, 6, 6), ("n", 4), (("n",), I64)], {"n": 3}, {}, {"mode": "max"})
    with pytest.raises(UnsupportedOperatorError, match=r'RoiAlign x1 \(node n\): mode "max" can\'t be compiled'):
        import_file(graph(case, tmp_path))
