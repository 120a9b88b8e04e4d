"""C and C++ programs over ``lepton.h``: the error paths, sanitizers, the header itself, and the example."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sanitizing_compiler import sanitizing_compiler
from tiny_library import CSRC, MODELS, RUNTIME_SOURCES, ZIG, LibraryBuilder, manifest_of, run_compiler, write_manifest

from lepton_compiler.core.errors import ArtifactError, InputError, RunError
from lepton_compiler.evaluation.emulators import EMULATOR_NAMES, find_emulator
from lepton_compiler.runtime.model import load
from lepton_compiler.targets.spec import Architecture

PROGRAMS = Path(__file__).with_name("programs")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
EXERCISES = pytest.mark.parametrize(
    ("program", "model"), [("exercise_arguments", "symbolic"), ("exercise_behaviours", "behaviours")]
)
QUIET_ALLOCATOR = {"ASAN_OPTIONS": "allocator_may_return_null=1", "TSAN_OPTIONS": "allocator_may_return_null=1"}


def build_exercise(compiler: Sequence[str], program: str, model: str, folder: Path, flags: Sequence[str]) -> Path:
    """Compiles program, model and runtime into one executable."""
    write_manifest(manifest_of(model), folder)
    includes = [f"-I{path}" for path in (CSRC, MODELS, PROGRAMS, folder)]
    sources = [PROGRAMS / f"{program}.c", MODELS / f"{model}.c", *RUNTIME_SOURCES]
    output = folder / program
    run_compiler(
        [*compiler, "-std=c11", "-g", "-O1", *WARNINGS, *flags, *includes, *sources, "-lpthread", "-o", output]
    )
    return output


def run_to_the_end(program: Path) -> None:
    """Runs a program and expects its last line, and nothing that a sanitizer reports as an error."""
    done = subprocess.run([str(program)], capture_output=True, text=True, env={**os.environ, **QUIET_ALLOCATOR})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert "ERROR" not in done.stderr


@EXERCISES
def test_exercise(tmp_path: Path, program: str, model: str) -> None:
    run_to_the_end(build_exercise(ZIG, program, model, tmp_path, ()))


@EXERCISES
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_exercise_under_sanitizers(tmp_path: Path, program: str, model: str, sanitizers: str) -> None:
    compiler = sanitizing_compiler(sanitizers, tmp_path)
    flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    run_to_the_end(build_exercise([compiler], program, model, tmp_path, flags))


def test_gcc_compiles_the_runtime(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    run_to_the_end(build_exercise(["gcc"], "exercise_arguments", "symbolic", tmp_path, ["-fvisibility=hidden"]))


@pytest.mark.parametrize(("compiler", "language", "standard"), [("cc", "c", "c99"), ("c++", "c++", "c++11")])
def test_header_stands_alone(tmp_path: Path, compiler: str, language: str, standard: str) -> None:
    source = tmp_path / "include.txt"
    source.write_text('#include "lepton.h"\nint32_t version(void) { return LEPTON_API_VERSION; }\n', encoding="ascii")
    zig = [sys.executable, "-m", "ziglang", compiler]
    arguments = ["-x", language, f"-std={standard}", *WARNINGS, "-Wno-missing-prototypes", f"-I{CSRC}"]
    run_compiler([*zig, *arguments, "-c", source, "-o", tmp_path / "include.o"])


def test_only_lepton_names_are_visible(affine: Path) -> None:
    from lepton_compiler.runtime.elf_sections import read_elf

    with affine.open("rb") as file:
        section = read_elf(file).section(".dynsym")
        names_section = read_elf(file).section(".dynstr")
        file.seek(section.offset)
        symbols = file.read(section.size)
        file.seek(names_section.offset)
        names = file.read(names_section.size)
    visible = set()
    for start in range(24, len(symbols), 24):
        name_offset = int.from_bytes(symbols[start : start + 4], "little")
        defined_in = int.from_bytes(symbols[start + 6 : start + 8], "little")
        if defined_in != 0:
            visible.add(names[name_offset : names.index(b"\0", name_offset)].decode())
    assert visible and all(name.startswith("lepton_") for name in visible), visible


@pytest.mark.parametrize(
    ("defines", "error", "message"),
    [
        (
            ['FEATURES="martian_vectors",'],
            ArtifactError,
            "lacks features that the model was compiled for: martian_vectors",
        ),
        (["ABI=99"], ArtifactError, "the model was generated for runtime 99 but linked with 1"),
        (['WEIGHTS_FILE="absent.weights"'], ArtifactError, "absent.weights can't be opened: No such file"),
        (['WEIGHTS_FILE="../affine.weights"'], ArtifactError, "is no plain file name"),
        (["ARENA_BYTES=(INT64_MAX/2)"], RunError, "out of memory: the arena of intermediate tensors needs 46116860184"),
        (["ARENA_BYTES=-1"], InputError, "the inputs are too small for this model"),
        (["ARENA_BYTES=INT64_MAX"], InputError, "need more than 2^63 bytes"),
        (["WORKSPACE_BYTES=(INT64_MAX/2)"], RunError, "out of memory: a thread's workspace needs 46116860184"),
    ],
)
def test_what_only_the_library_can_find(
    builder: LibraryBuilder, defines: list[str], error: type[Exception], message: str
) -> None:
    path = builder.build("affine", defines=defines)
    for _ in range(2):
        with pytest.raises(error) as raised:
            load(path)(np.zeros((4, 6), np.float32))
        assert message in str(raised.value)


def test_features_of_this_processor_are_found(builder: LibraryBuilder) -> None:
    from lepton_compiler.targets.registry import native_target

    features = "".join(f'"{name}",' for name in native_target().cpu_features)
    path = builder.build("affine", defines=[f"FEATURES={features}"])
    assert load(path)(np.ones((4, 6), np.float32))["s"] == 36


def test_refused_threads_are_an_error(affine: Path) -> None:
    program = (
        "import resource, numpy as np, lepton_compiler\n"
        f"model = lepton_compiler.load({str(affine)!r}, threads=1024)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.RLIM_INFINITY))\n"
        "x = np.ones((4, 6), np.float32)\n"
        "try:\n"
        "    model(x)\n"
        "except lepton_compiler.core.errors.RunError as error:\n"
        "    print(error)\n"
        "model.threads = 2\n"
        "assert model(x)['s'] == 36\n"
    )
    if resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY:
        pytest.skip("the address space is limited already")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "affine.so: the system refused thread" in done.stdout


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("example") / "run_model"
    compiler = ["cc"] if shutil.which("cc") else list(ZIG)
    source = CSRC / "example" / "run_model.c"
    run_compiler([*compiler, "-std=c99", "-O2", *WARNINGS, f"-I{CSRC}", source, "-o", path, "-ldl"])
    return path


def run_example(example: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(example), *map(str, arguments)], capture_output=True, text=True)


def test_example_reads_and_writes_files(example: Path, symbolic: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
    for name, array in (("a", a), ("b", b)):
        (tmp_path / f"{name}.raw").write_bytes(array.tobytes())
    files = ["-i", f"a={tmp_path / 'a.raw'}", "-i", f"b={tmp_path / 'b.raw'}", "-o", tmp_path / "out"]
    done = run_example(example, *files, "-d", "batch=2", "-d", "width=5", "-t", "2", "-r", "3", symbolic)
    assert done.returncode == 0, done.stderr
    assert "input 0 a float32 [batch, width]\n" in done.stdout
    assert "output 1 row_ids int64 [batch * 2]\n" in done.stdout
    assert "best of 3 runs: " in done.stdout
    total = np.fromfile(tmp_path / "out_0.raw", np.float32).reshape(2, 5)
    np.testing.assert_allclose(total, a + b.sum(1, keepdims=True), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out_1.raw", np.int64), np.arange(4))


def test_example_fills_inputs_of_every_dtype(example: Path, copies: Path, tmp_path: Path) -> None:
    done = run_example(example, "-o", tmp_path / "out", copies)
    assert done.returncode == 0, done.stderr
    for index, dtype in ((0, np.float32), (1, np.float64), (2, np.float16)):
        np.testing.assert_array_equal(
            np.fromfile(tmp_path / f"out_{index}.raw", dtype), np.array([1, 0.5, 0.25], dtype)
        )
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out_12.raw", np.bool_), [False, True, False])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: run_model"),
        (["-t", "many", "MODEL"], 'the number of threads must be a number from 1 up, not "many"'),
        (["-i", "x", "MODEL"], '"x" is not of the form NAME=VALUE'),
        (["-i", "x=/absent", "MODEL"], "/absent: No such file or directory"),
        (["-i", "x=/dev/null", "MODEL"], "/dev/null: input x needs exactly 96 bytes"),
        (["-t", "2000", "MODEL"], "threads must be 0 to 1024, given 2000"),
        (["/absent.so"], "cannot open shared object file"),
    ],
)
def test_example_explains_mistakes(example: Path, affine: Path, arguments: list[str], message: str) -> None:
    done = run_example(example, *[str(affine) if argument == "MODEL" else argument for argument in arguments])
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("triple", "architecture"),
    [("aarch64-linux-musl", Architecture.AARCH64), ("arm-linux-musleabihf", Architecture.ARMV7)],
)
def test_linked_example_on_arm(
    affine: Path, example: Path, tmp_path: Path, triple: str, architecture: Architecture
) -> None:
    emulator = find_emulator(architecture)
    if emulator is None:
        pytest.skip(f"{EMULATOR_NAMES[architecture][0]} is not installed (Debian: qemu-user-static or qemu-user)")
    write_manifest(manifest_of("affine", "aarch64"), tmp_path)
    sources = [CSRC / "example" / "run_model.c", MODELS / "affine.c", *RUNTIME_SOURCES]
    program = tmp_path / "run_model"
    includes = [f"-I{CSRC}", f"-I{tmp_path}"]
    flags = ["-target", triple, "-static", "-DLEPTON_LINKED", "-O2", *includes]
    run_compiler([*ZIG, *flags, *sources, "-o", program])
    done = subprocess.run(
        [emulator, str(program), "-t", "3", "-r", "2", "-o", str(tmp_path / "arm")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run_example(example, "-o", tmp_path / "host", affine)
    for index in (0, 1):
        assert (tmp_path / f"arm_{index}.raw").read_bytes() == (tmp_path / f"host_{index}.raw").read_bytes()


@pytest.mark.parametrize("triple", ["aarch64-linux-gnu.2.17", "arm-linux-gnueabihf.2.28"])
def test_example_builds_for_arm(tmp_path: Path, triple: str) -> None:
    source = CSRC / "example" / "run_model.c"
    run_compiler([*ZIG, "-target", triple, *WARNINGS, f"-I{CSRC}", source, "-o", tmp_path / "run_model", "-ldl"])
