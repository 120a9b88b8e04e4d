"""What an artifact is: one small library that needs the C library alone, the same bytes every time, usable from C."""

from __future__ import annotations

import json
import subprocess
import sys
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from compiled_models import CompiledModels
from elf_dynamic import PARTS_OF_THE_C_LIBRARY, needed_libraries
from example_program import build_example, run_example
from model_zoo import ZooModel, find

import lepton_compiler

LARGEST_SHARE_OF_WEIGHTS = 1.05
LARGEST_REST_BYTES = 1_000_000

_COMPILE_ELSEWHERE = """
import json, sys
from pathlib import Path
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
shapes = {name: tuple(shape) for name, shape in json.loads(sys.argv[2]).items()}
compile_model(Path(sys.argv[1]), Path("again.so"), CompileOptions(input_shapes=shapes))
"""


@pytest.fixture(scope="module", params=["resnet_small", "mobilenetv2"])
def model(request: pytest.FixtureRequest) -> ZooModel:
    """One that the tests build themselves, and one with trained weights."""
    return find(request.param)


@pytest.fixture(scope="module")
def library(model: ZooModel, compiled_models: CompiledModels) -> Path:
    return compiled_models.library(model)


def test_the_library_needs_the_c_library_alone(library: Path) -> None:
    needed = needed_libraries(library)
    assert needed
    assert [name for name in needed if not PARTS_OF_THE_C_LIBRARY.fullmatch(name)] == []


def test_the_library_is_hardly_larger_than_its_weights(
    model: ZooModel, library: Path, compiled_models: CompiledModels
) -> None:
    graph = onnx.load(compiled_models.model(model)).graph
    weights = sum(4 * prod(tensor.dims) for tensor in graph.initializer)
    assert library.stat().st_size <= LARGEST_SHARE_OF_WEIGHTS * weights + LARGEST_REST_BYTES


def test_the_same_model_gives_the_same_bytes(
    model: ZooModel, library: Path, compiled_models: CompiledModels, tmp_path: Path
) -> None:
    """In another process with other hash seeds, in another folder, under another name."""
    arguments = [str(compiled_models.model(model)), json.dumps(model.shapes)]
    subprocess.run([sys.executable, "-c", _COMPILE_ELSEWHERE, *arguments], cwd=tmp_path, check=True)
    assert (tmp_path / "again.so").read_bytes() == library.read_bytes()


def test_the_c_example_computes_the_same_bits(
    model: ZooModel, library: Path, compiled_models: CompiledModels, tmp_path: Path
) -> None:
    inputs = model.inputs(compiled_models.model(model), {})
    with lepton_compiler.load(library, threads=2) as compiled:
        expected = compiled(**inputs)
        outputs = compiled.outputs
    found = run_example([build_example(tmp_path)], inputs, outputs, tmp_path, library)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_the_c_example_says_what_is_wrong(model: ZooModel, library: Path, tmp_path: Path) -> None:
    program = build_example(tmp_path)
    wanted = 4 * prod(model.shapes["input"])
    (tmp_path / "short.raw").write_bytes(b"\0" * 12)
    command = [str(program), "-i", "input=short.raw", str(library)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"short.raw: input input needs exactly {wanted} bytes" in done.stderr
