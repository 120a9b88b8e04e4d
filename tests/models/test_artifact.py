"""What an artifact is: one small library that needs the C library alone, the same bytes every time, usable from C."""

from __future__ import annotations

import re
import subprocess
import sys
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from compiled_models import CompiledModels
from elf_dynamic import needed_libraries
from example_program import build_example, run_example
from model_zoo import find

import lepton_compiler

PARTS_OF_THE_C_LIBRARY = re.compile(r"lib(c|m|pthread|dl)\.so\.\d+|ld-linux[\w-]*\.so\.\d+")

LARGEST_SHARE_OF_WEIGHTS = 1.05
LARGEST_REST_BYTES = 1_000_000

MODEL = find("mobilenetv2")

_COMPILE_ELSEWHERE = """
import sys
from pathlib import Path
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
compile_model(Path(sys.argv[1]), Path("again.so"), CompileOptions(input_shapes={"input": (1, 3, 224, 224)}))
"""


@pytest.fixture(scope="module")
def library(compiled_models: CompiledModels) -> Path:
    return compiled_models.library(MODEL)


def test_the_library_needs_the_c_library_alone(library: Path) -> None:
    needed = needed_libraries(library)
    assert needed
    assert [name for name in needed if not PARTS_OF_THE_C_LIBRARY.fullmatch(name)] == []


def test_the_library_is_hardly_larger_than_its_weights(library: Path, compiled_models: CompiledModels) -> None:
    model = onnx.load(compiled_models.model(MODEL))
    weights = sum(4 * prod(tensor.dims) for tensor in model.graph.initializer)
    assert library.stat().st_size <= LARGEST_SHARE_OF_WEIGHTS * weights + LARGEST_REST_BYTES


def test_the_same_model_gives_the_same_bytes(library: Path, compiled_models: CompiledModels, tmp_path: Path) -> None:
    """In another process with other hash seeds, in another folder, under another name."""
    command = [sys.executable, "-c", _COMPILE_ELSEWHERE, str(compiled_models.model(MODEL))]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "again.so").read_bytes() == library.read_bytes()


def test_the_c_example_computes_the_same_bits(library: Path, compiled_models: CompiledModels, tmp_path: Path) -> None:
    inputs = MODEL.inputs(compiled_models.model(MODEL), {})
    with lepton_compiler.load(library, threads=2) as compiled:
        expected = compiled(**inputs)
        outputs = compiled.outputs
    found = run_example([build_example(tmp_path)], inputs, outputs, tmp_path, library)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_the_c_example_says_what_is_wrong(library: Path, tmp_path: Path) -> None:
    program = build_example(tmp_path)
    (tmp_path / "short.raw").write_bytes(b"\0" * 12)
    command = [str(program), "-i", "input=short.raw", str(library)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"short.raw: input input needs exactly {4 * 3 * 224 * 224} bytes" in done.stderr
