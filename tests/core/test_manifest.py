"""Manifest: what goes in comes out, and nothing malformed gets through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_compiler.core.errors import ArtifactError
from lepton_compiler.core.manifest import (
    FORMAT,
    KernelEntry,
    Manifest,
    MemoryEntry,
    ModelEntry,
    PassEntry,
    TargetEntry,
    TensorEntry,
    TuningEntry,
    WeightsEntry,
)

MANIFEST = Manifest(
    format=FORMAT,
    compiler_version="0.1.0",
    precision="fp32",
    versions={"apache-tvm": "0.27.0", "onnx": "1.23.0"},
    model=ModelEntry("größe.onnx", "ab" * 32, 17, {"author": "someone"}),
    target=TargetEntry("x86-64-v3", "x86_64", ("avx2", "fma")),
    inputs=(TensorEntry("x", "float32", ("n", 3, 224, 224)),),
    outputs=(TensorEntry("y", "float32", ("n * 2", 1000)),),
    symbols=("n",),
    weights=WeightsEntry(1 << 20, None, "cd" * 32),
    memory=MemoryEntry(8192, 8128, 4096, 64),
    kernels=(
        KernelEntry(
            "fused_conv2d_add",
            "conv+bias",
            "conv2d",
            "conv2d: tile_w=14",
            "n * 9216",
            4096,
            "float32",
            "over the result of conv0",
        ),
        KernelEntry("where", "mask", "opaque", "as written", None, None, "", ""),
        KernelEntry("sum", "sum", "row", "row", 1, 1, "", "", TuningEntry("log.jsonl:1", 1.25, "it is no candidate")),
    ),
    passes=(PassEntry("fold-batch-norm", "CANONICAL", (("bn1", "folded"),), (("bn2", "it is training"),)),),
)


def test_round_trip() -> None:
    data = MANIFEST.to_json()
    assert Manifest.from_json(data) == MANIFEST
    assert Manifest.from_json(data).to_json() == data


def test_the_order_in_which_dictionaries_were_filled_leaves_no_trace() -> None:
    reversed_versions = dict(reversed(MANIFEST.versions.items()))
    assert dataclasses.replace(MANIFEST, versions=reversed_versions).to_json() == MANIFEST.to_json()


def _changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    raw = json.loads(MANIFEST.to_json())
    change(raw)
    return json.dumps(raw).encode()


HOSTILE = {
    "field manifest.model.sha256 is missing": lambda raw: raw["model"].pop("sha256"),
    "field manifest.model is not an object": lambda raw: raw.update(model=["x"]),
    "field manifest.model.opset has a value of the wrong type: str": lambda raw: raw["model"].update(opset="17"),
    "field manifest.model.opset has a value of the wrong type: bool": lambda raw: raw["model"].update(opset=True),
    "field manifest.inputs is not a list": lambda raw: raw.update(inputs={}),
    "field manifest.inputs[0].shape[1] has a value of the wrong type: float": lambda raw: raw["inputs"][0].update(
        shape=["n", 3.0]
    ),
    "field manifest.inputs[0].shape[0] has a value of the wrong type: NoneType": lambda raw: raw["inputs"][0].update(
        shape=[None]
    ),
    "field manifest.versions has a value of the wrong type: dict": lambda raw: raw["versions"].update(onnx=1),
    "field manifest.weights.file has a value of the wrong type: int": lambda raw: raw["weights"].update(file=7),
    "field manifest.memory.arena_bytes has a value of the wrong type: str": lambda raw: raw["memory"].update(
        arena_bytes="much"
    ),
    "field manifest.kernels[0].flops has a value of the wrong type: float": lambda raw: raw["kernels"][0].update(
        flops=1.5
    ),
    "field manifest.passes[0].rewrites[0] has 3 items, 2 expected": lambda raw: raw["passes"][0].update(
        rewrites=[["a", "b", "c"]]
    ),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_names_the_first_wrong_field(message: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        Manifest.from_json(_changed(HOSTILE[message]))
    assert str(caught.value) == f"the manifest's {message}"


def test_refuses_another_format_with_advice() -> None:
    with pytest.raises(ArtifactError, match="has format 99, this version of Lepton reads 5: compile the model again"):
        Manifest.from_json(_changed(lambda raw: raw.update(format=99)))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000], ids=["empty", "cut", "not-utf8", "deep"])
def test_refuses_what_is_no_json(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="not valid JSON"):
        Manifest.from_json(data)


def test_refuses_json_that_is_no_object() -> None:
    with pytest.raises(ArtifactError, match="not a JSON object"):
        Manifest.from_json(b"[1, 2]")


@given(st.data())
def test_any_byte_may_be_wrong(data: st.DataObject) -> None:
    """A flipped byte gives an ArtifactError or a manifest of the right types, never another exception."""
    raw = bytearray(MANIFEST.to_json())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        manifest = Manifest.from_json(bytes(raw))
    except ArtifactError:
        return
    assert isinstance(manifest.model.name, str)
    assert isinstance(manifest.weights.bytes, int)
