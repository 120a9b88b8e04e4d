"""Models for ARM, built here: the library links for the board, and the same code gives the right numbers emulated."""

from __future__ import annotations

from pathlib import Path

import pytest
from agreement import assert_agrees, onnxruntime_outputs
from compiled_models import CompiledModels
from elf_dynamic import PARTS_OF_THE_C_LIBRARY, needed_libraries
from example_program import build_static_example, run_example
from model_zoo import find

from lepton_compiler.build.artifact import ModelObjects, generate_objects, link_library
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import optimize_model
from lepton_compiler.evaluation.emulators import EMULATOR_NAMES, find_emulator
from lepton_compiler.targets.registry import get_target
from lepton_compiler.targets.spec import Architecture

_ELF_MACHINES = {Architecture.AARCH64: 183, Architecture.ARMV7: 40}
"""EM_AARCH64 and EM_ARM of the ELF specification."""

CASES = [
    pytest.param(("resnet_small", "arm-cortex-a72"), id="resnet_small-arm-cortex-a72"),
    pytest.param(("resnet_small", "arm-cortex-a7"), id="resnet_small-arm-cortex-a7"),
    *(
        pytest.param(("mobilenetv2", target), marks=pytest.mark.slow, id=f"mobilenetv2-{target}")
        for target in ("armv8-a", "arm-cortex-a72", "arm-cortex-a7")
    ),
]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def objects(
    case: tuple[str, str], compiled_models: CompiledModels, tmp_path_factory: pytest.TempPathFactory
) -> ModelObjects:
    """Kernels and executor for the board, compiled once for both tests."""
    name, target = case
    model = find(name)
    options = CompileOptions(target=target, input_shapes=model.shapes)
    program = optimize_model(compiled_models.model(model), options)
    return generate_objects(
        program, tmp_path_factory.mktemp(f"{name}-{target}"), "model.so", options.embed_weights_bytes
    )


def test_the_library_links_for_the_board(case: tuple[str, str], objects: ModelObjects) -> None:
    target = get_target(case[1])
    library = link_library(objects, target)
    header = library.read_bytes()[:20]
    assert header[4] == target.architecture.pointer_bits // 32
    assert int.from_bytes(header[18:20], "little") == _ELF_MACHINES[target.architecture]
    assert [name for name in needed_libraries(library) if not PARTS_OF_THE_C_LIBRARY.fullmatch(name)] == []


@pytest.mark.slow  # the first static link for a triple compiles its C library, which takes minutes
@pytest.mark.timeout(1800)
def test_the_model_runs_emulated(
    case: tuple[str, str], objects: ModelObjects, compiled_models: CompiledModels, tmp_path: Path
) -> None:
    target = get_target(case[1])
    emulator = find_emulator(target.architecture)
    if emulator is None:
        pytest.skip(
            f"{EMULATOR_NAMES[target.architecture][0]} is not installed (Debian: qemu-user-static or qemu-user)"
        )
    model = find(case[0])
    inputs = model.inputs(compiled_models.model(model), {})
    program = build_static_example(objects, target)
    found = run_example([emulator, program], inputs, objects.manifest.outputs, tmp_path)
    assert_agrees(found, onnxruntime_outputs(compiled_models.model(model), inputs))
