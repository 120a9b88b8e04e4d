"""Products that read the same tensor, merged and apart, as whole models beside ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from agreement import assert_agrees, onnxruntime_outputs
from onnx import TensorProto, helper, numpy_helper

import lepton_compiler
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.runtime.artifact_file import read_manifest
from lepton_compiler.targets.registry import get_target

FLOAT32_TOLERANCE = 3e-6
BFLOAT16_TOLERANCE = 2e-2
"""Largest errors as a share of an output's range; bfloat16 has 8 bits of mantissa."""

needs_bfloat16 = pytest.mark.skipif(
    not get_target("native").has_bfloat16_dot, reason="the processor has no bfloat16 products"
)


@dataclass(frozen=True)
class Case:
    """A model with products of one input.

    Attributes:
        shape: The input's.
        columns: Of each product.
        biased: Which products have a bias.
        tail: What reads them: ``"outputs"``, ``"gate"``, ``"attention"``, or ``"cache"``, an attention whose keys and
            values are outputs, too.
        heads: Of the attention.
        symbolic: Axes of the input that are symbolic.
        merged: How many products are expected to be merged.
        shared: Whether all products have the same weight.
    """

    shape: tuple[int, ...]
    columns: tuple[int, ...]
    tail: str
    merged: int
    biased: str = "1" * 8
    heads: int = 2
    symbolic: tuple[int, ...] = ()
    shared: bool = False


CASES = {
    "attention": Case((1, 19, 24), (32, 32, 32), "attention", 3),
    "a batch of three": Case((3, 17, 24), (32, 32, 32), "attention", 3),
    "one bias": Case((1, 19, 24), (32, 32, 32), "attention", 3, biased="010"),
    "no bias": Case((2, 5, 24), (32, 32, 32), "attention", 3, biased="000"),
    "columns that fill no vector": Case((1, 13, 15), (30, 30, 30), "attention", 3, heads=3),
    "narrow values": Case((1, 13, 15), (30, 30, 6), "attention", 3),
    "one token": Case((1, 1, 16), (24, 24, 24), "attention", 3),
    "a cache": Case((1, 64, 24), (256, 256, 256), "cache", 0),
    "symbolic length": Case((1, 19, 8), (64, 64, 64), "attention", 0, symbolic=(1,)),
    "symbolic batch": Case((2, 19, 8), (64, 64, 64), "attention", 0, symbolic=(0,)),
    "narrow outputs": Case((9, 30, 128), (4, 1, 10), "outputs", 3, biased="101"),
    "narrow outputs of a symbolic batch": Case((7, 256), (4, 1, 3), "outputs", 3, symbolic=(0,)),
    "two and many columns": Case((300, 64), (3, 200, 2), "outputs", 2),
    "wide outputs": Case((300, 32), (64, 64), "outputs", 0),
    "gate and up, narrow": Case((2, 200, 256), (20, 20), "gate", 2),
    "gate and up, wide": Case((300, 32), (128, 128), "gate", 0),
    "gate and up, one row": Case((1, 512), (20, 20), "gate", 2),
    "one weight for all": Case((300, 256), (4, 4, 4), "outputs", 0, shared=True),
}


def _write(case: Case, path: Path) -> Path:
    random = np.random.default_rng(5)
    nodes, weights, parts = [], [], []

    def weight(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    inner = case.shape[-1]
    for i, count in enumerate(case.columns):
        if i == 0 or not case.shared:
            matrix = weight(f"w{i}", random.standard_normal((inner, count)).astype(np.float32) / np.float32(inner**0.5))
        part = node("MatMul", ["x", matrix], f"p{i}")
        if case.biased[i] == "1":
            part = node("Add", [part, weight(f"b{i}", random.standard_normal(count).astype(np.float32))], f"s{i}")
        parts.append(part)
    outputs = parts if case.tail == "outputs" else []
    if case.tail == "gate":
        gate = node("Mul", [parts[0], node("Sigmoid", [parts[0]], "sigmoid")], "silu")
        outputs = [node("Mul", [gate, parts[1]], "y")]
    if case.tail in ("attention", "cache"):
        heads = []
        for name, part, count in zip("qkv", parts, case.columns, strict=True):
            split = weight(f"split_{name}", np.array([0, 0, case.heads, count // case.heads]))
            order = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
            heads.append(node("Transpose", [node("Reshape", [part, split], f"{name}_split")], name, perm=order))
        scores = node("Softmax", [node("MatMul", heads[:2], "scores")], "softmax", axis=-1)
        mixed = node("Transpose", [node("MatMul", [scores, heads[2]], "mixed")], "turned", perm=[0, 2, 1, 3])
        outputs = [node("Reshape", [mixed, weight("joined", np.array([0, 0, case.columns[2]]))], "y")]
        outputs += parts[1:] if case.tail == "cache" else []
    sizes = [f"n{axis}" if axis in case.symbolic else size for axis, size in enumerate(case.shape)]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(case.shape)) for name in outputs],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _inputs(case: Case) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(7).standard_normal(case.shape).astype(np.float32)}


def _merged(library: Path) -> list[str]:
    """Nodes that were merged with others."""
    done = next(entry for entry in read_manifest(library).passes if entry.name == "merge-products")
    return [node for node, _ in done.rewrites]


def _check(case: Case, folder: Path, tolerance: float, options: CompileOptions) -> Path:
    model, library = _write(case, folder / "model.onnx"), folder / "model.so"
    lepton_compiler.compile_model(model, library, options, force=True)
    inputs = _inputs(case)
    with lepton_compiler.load(library) as loaded:
        assert_agrees(loaded(**inputs), onnxruntime_outputs(model, inputs), tolerance)
    return library


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnxruntime(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    options = CompileOptions(target="x86-64-v3")
    assert len(_merged(_check(case, tmp_path, FLOAT32_TOLERANCE, options))) == case.merged
    off = CompileOptions(target="x86-64-v3", merge_products=False)
    assert _merged(_check(case, tmp_path, FLOAT32_TOLERANCE, off)) == []


def test_parts_of_an_attention_are_not_copied(tmp_path: Path) -> None:
    library = _check(CASES["attention"], tmp_path, FLOAT32_TOLERANCE, CompileOptions(target="x86-64-v3"))
    assert [kernel.name for kernel in read_manifest(library).kernels] == ["fused_dense_add", "attention"]


@needs_bfloat16
@pytest.mark.parametrize("name", ["attention", "one bias", "narrow outputs", "gate and up, narrow"])
@pytest.mark.parametrize("precision", ["bf16", "mixed"])
def test_products_of_bfloat16(name: str, precision: str, tmp_path: Path) -> None:
    library = _check(CASES[name], tmp_path, BFLOAT16_TOLERANCE, CompileOptions(precision=precision))
    assert len(_merged(library)) == CASES[name].merged


@needs_bfloat16
def test_a_product_that_is_kept_in_float32_is_not_merged(tmp_path: Path) -> None:
    options = CompileOptions(precision="bf16", keep_fp32=("p1",))
    library = _check(CASES["attention"], tmp_path, BFLOAT16_TOLERANCE, options)
    assert _merged(library) == ["p0+s0", "p2+s2"]
    converted = next(entry for entry in read_manifest(library).passes if entry.name == "convert-precision")
    assert [node for node, _ in converted.rewrites] == ["p0+p2"]
    assert dict(converted.declines)["p1"] == 'stays float32: it is kept by "p1"'
