"""Operators behind each other, through the whole compiler and against ONNX Runtime: what fusion brings together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import run_reference, save

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.runtime.model import load
from lepton_compiler.targets.registry import TARGETS, runs_here

TOLERANCE = 2e-6
"""Absolute and relative; a handful of float32 roundings of values around 1."""

RNG = np.random.default_rng(11)

LEVELS = [name for name in TARGETS if name.startswith("x86-64-v") and runs_here(TARGETS[name])]

FUNCTIONS: dict[str, dict[str, object]] = {
    "Gelu": {},
    "GeluTanh": {"approximate": "tanh"},
    "Mish": {},
    "Tanh": {},
    "Sigmoid": {},
    "Swish": {},
    "Exp": {},
    "Erf": {},
    "Softplus": {},
    "Elu": {},
    "Sinh": {},
    "HardSwish": {},
}

SATURATING = ["Gelu", "GeluTanh", "Mish", "Tanh", "Sigmoid", "Erf", "Elu", "HardSwish"]

CONSTANTS = {
    "borders": np.array([0, 0, 0, 3, 0, 0, 0, 2], np.int64),
    "indices": np.array([12, 0, 3, 3, 7, 1, 12, 5, 9], np.int64),
    "square": RNG.normal(size=(16, 16)).astype(np.float32) / 4,
    "row": RNG.normal(size=16).astype(np.float32),
    "last_axis": np.array([2], np.int64),
}


def _concat(inputs: list[str], output: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Concat", inputs, [output], axis=-1)]


MOVES: dict[str, Callable[[str, str, str], list[onnx.NodeProto]]] = {
    "Concat": lambda x, y, moved: _concat([x, y], moved),
    "Concat of one": lambda x, y, moved: _concat([x, x, x], moved),
    "Pad": lambda x, y, moved: [helper.make_node("Pad", [x, "borders"], [moved])],
    "Gather": lambda x, y, moved: [helper.make_node("Gather", [x, "indices"], [moved], axis=-1)],
    "Concat of functions": lambda x, y, moved: [
        helper.make_node("Relu", [x], [f"{moved}_relu"]),
        helper.make_node("Sigmoid", [y], [f"{moved}_gate"]),
        *_concat([f"{moved}_relu", f"{moved}_gate", f"{moved}_relu"], moved),
    ],
    "Sinh": lambda x, y, moved: [helper.make_node("Sinh", [x], [moved])],
}


def _function(name: str, source: str, output: str) -> list[onnx.NodeProto]:
    if name == "Swish":
        gate = f"{output}_gate"
        return [helper.make_node("Sigmoid", [source], [gate]), helper.make_node("Mul", [source, gate], [output])]
    return [helper.make_node(name.removesuffix("Tanh") or name, [source], [output], **FUNCTIONS[name])]


def _check(
    path: Path, nodes: list[onnx.NodeProto], feeds: dict[str, np.ndarray], outputs: list[str], target: str = "native"
) -> None:
    inputs = {name: (TensorProto.FLOAT, value.shape) for name, value in feeds.items()}
    save(path, nodes, inputs, outputs, CONSTANTS, opset=20)
    expected = run_reference(path, feeds)
    compile_model(path, path.with_suffix(".so"), CompileOptions(target=target))
    with load(path.with_suffix(".so")) as model:
        actual = model(**feeds)
    for name, reference in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(actual[name], reference, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("move", MOVES)
def test_functions_behind_what_has_no_vector_form(move: str, tmp_path: Path) -> None:
    """Each function has inputs of its own: what several of them read would not be fused."""
    feeds, nodes = {}, []
    for name in FUNCTIONS:
        x, y = f"x_{name}", f"y_{name}"
        feeds |= {tensor: RNG.normal(size=(1, 3, 5, 13)).astype(np.float32) for tensor in (x, y)}
        nodes += [*MOVES[move](x, y, f"moved_{name}"), *_function(name, f"moved_{name}", name)]
    _check(tmp_path / "chain.onnx", nodes, feeds, list(FUNCTIONS))


@pytest.mark.parametrize("extremum", ["Max", "Min"])
@pytest.mark.parametrize("rows", [1, 2])
def test_an_extremum_of_two_tensors_behind_a_kernel(extremum: str, rows: int, tmp_path: Path) -> None:
    names = ["MatMul", "Softmax", "LogSoftmax", "LayerNormalization", "ReduceMean"]
    feeds, nodes = {}, []
    for name in names:
        feeds[f"x_{name}"] = RNG.normal(size=(rows, 5, 16)).astype(np.float32)
        feeds[f"y_{name}"] = RNG.normal(size=(rows, 5, 1 if name == "ReduceMean" else 16)).astype(np.float32)
        more = {"MatMul": ["square"], "LayerNormalization": ["row"], "ReduceMean": ["last_axis"]}.get(name, [])
        nodes.append(helper.make_node(name, [f"x_{name}", *more], [f"kernel_{name}"]))
        nodes.append(helper.make_node(extremum, [f"kernel_{name}", f"y_{name}"], [name]))
    _check(tmp_path / "chain.onnx", nodes, feeds, names)


@pytest.mark.parametrize("level", LEVELS)
def test_functions_far_from_zero(level: str, tmp_path: Path) -> None:
    """Where a function that stops a little short of 1 would grow without bound once it is multiplied."""
    far = [-1e4, -1e10, -1e30, -np.inf, 1e4, 1e10, np.inf, np.nan, -10.0, -8.0, -5.0, 0.0, 5.0, 8.0, 10.0, -100.0]
    values = np.array([far], np.float32)
    nodes = [node for name in SATURATING for node in _function(name, f"x_{name}", name)]
    feeds = {f"x_{name}": values for name in SATURATING}
    _check(tmp_path / "far.onnx", nodes, feeds, SATURATING, level)
