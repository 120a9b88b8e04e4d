import errno
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import build_once
import numpy as np
import pytest
from elf_dynamic import needed_libraries
from elf_symbols import dynamic_symbols
from handmade_programs import EMBED_ALL, imported_module, scheduled_program, tensor
from tvm import relax

import lepton_compiler
from lepton_compiler.build import artifact
from lepton_compiler.build.artifact import build_artifact, check_output
from lepton_compiler.core.abi import weights_trailer
from lepton_compiler.core.errors import InternalError, OutputError
from lepton_compiler.core.manifest import Manifest
from lepton_compiler.core.program import Program
from lepton_compiler.runtime.artifact_file import read_artifact
from lepton_compiler.targets.registry import TARGETS, get_target

WEIGHT = np.random.default_rng(1).normal(size=(64, 48)).astype(np.float32)
X = np.random.default_rng(2).normal(size=(3, 64)).astype(np.float32)
ATOL = 1e-4
"""Sums of 64 products of about 1, in float32."""

C_LIBRARY = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"}
"""What glibc 2.17 consists of; its loader's name differs with the architecture."""

EXPORTED = {"lepton_open", "lepton_close", "lepton_run", "lepton_input", "lepton_output", "lepton_last_error"}


def linear(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    return bb.emit(relax.op.nn.relu(bb.emit(relax.op.matmul(x, relax.const(WEIGHT)), "mm")), "relu")


def linear_program(target: str = "native", name: str = "linear.onnx") -> Program:
    return scheduled_program(imported_module([tensor("x", (3, 64))], linear), get_target(target), name)


@pytest.fixture(scope="module")
def program() -> Program:
    return linear_program()


@pytest.fixture(scope="module")
def library(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "linear.so"
    build_artifact(program, path, EMBED_ALL)
    return path


def run(path: Path) -> None:
    with lepton_compiler.load(path) as model:
        np.testing.assert_allclose(model(X)["y"], np.maximum(X @ WEIGHT, 0), atol=ATOL)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What it holds.


def test_it_loads_and_computes(library: Path) -> None:
    run(library)


def test_only_the_public_functions_are_exported(library: Path) -> None:
    exported, imported = dynamic_symbols(library)
    assert exported >= EXPORTED
    assert {name for name in exported if not name.startswith("lepton_")} == set()
    assert {name for name in imported if name.startswith(("TVM", "__tvm"))} == set()


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_links_and_needs_the_c_library_alone(target: str, tmp_path: Path) -> None:
    manifest = build_artifact(linear_program(target), tmp_path / "model.so", EMBED_ALL)
    needed = set(needed_libraries(tmp_path / "model.so"))
    assert {name for name in needed - C_LIBRARY if not name.startswith("ld-linux")} == set()
    assert read_artifact(tmp_path / "model.so").manifest == manifest
    assert manifest.target.name == target


def test_manifest_describes_the_program(library: Path, program: Program) -> None:
    manifest = read_artifact(library).manifest
    assert manifest.compiler_version == lepton_compiler.__version__
    assert manifest.model.name == "linear.onnx"
    assert [(entry.name, entry.dtype, entry.shape) for entry in manifest.inputs] == [("x", "float32", (3, 64))]
    assert [(entry.name, entry.dtype, entry.shape) for entry in manifest.outputs] == [("y", "float32", (3, 48))]
    assert manifest.target.cpu_features == program.target.cpu_features
    assert [kernel.nodes for kernel in manifest.kernels] == ["mm+relu"]
    assert all(kernel.anchor and kernel.schedule for kernel in manifest.kernels)
    assert [record.name for record in manifest.passes] == [record.pass_name for record in program.history]
    assert manifest.weights.file is None
    assert manifest.weights.bytes >= WEIGHT.nbytes
    assert set(manifest.versions) == {"tvm", "zig"}


def test_name_that_is_no_utf8_does_not_stop_the_build(tmp_path: Path) -> None:
    build_artifact(linear_program(name=os.fsdecode(b"mod\xffel.onnx")), tmp_path / "model.so", EMBED_ALL)
    assert read_artifact(tmp_path / "model.so").manifest.model.name == "mod\\udcffel.onnx"


def test_no_path_of_this_machine_is_in_it(library: Path) -> None:
    data = library.read_bytes()
    folders = {Path(tempfile.gettempdir()), Path.cwd(), Path(lepton_compiler.__file__).parent, Path(sys.prefix)}
    for folder in folders:
        assert str(folder).encode() not in data


# Large weights.


def test_large_weights_lie_beside_the_library(program: Program, tmp_path: Path) -> None:
    manifest = build_artifact(program, tmp_path / "model.so", WEIGHT.nbytes - 1)
    assert names_in(tmp_path) == ["model.so", "model.so.weights"]
    weights = (tmp_path / "model.so.weights").read_bytes()
    assert manifest.weights.file == "model.so.weights"
    block, trailer = weights[: manifest.weights.bytes], weights[manifest.weights.bytes :]
    assert manifest.weights.sha256 == hashlib.sha256(block).hexdigest()
    assert trailer == weights_trailer(manifest.weights.sha256)
    assert len(block) >= WEIGHT.nbytes
    assert WEIGHT.tobytes()[:256] not in (tmp_path / "model.so").read_bytes()
    run(tmp_path / "model.so")


def test_library_and_weights_can_move_together(program: Program, tmp_path: Path) -> None:
    build_artifact(program, tmp_path / "model.so", 0)
    (tmp_path / "elsewhere").mkdir()
    for name in ("model.so.weights", "model.so"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    run(tmp_path / "elsewhere" / "model.so")


# The same inputs give the same bytes.


def build_in_a_process(output: Path, scratch: Path, *arguments: str) -> subprocess.CompletedProcess:
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONHASHSEED": "1"}
    script = Path(__file__).with_name("build_once.py")
    return subprocess.run(
        [sys.executable, str(script), str(output), *arguments],
        env=environment,
        cwd=scratch,
        capture_output=True,
        text=True,
    )


def test_two_processes_in_different_folders_write_the_same_bytes(tmp_path: Path) -> None:
    outputs = [tmp_path / folder / "model.so" for folder in ("here", "there")]
    for output in outputs:
        output.parent.mkdir()
    assert build_once.main(outputs[0], None) == 0
    done = build_in_a_process(outputs[1], tmp_path / "scratch")
    assert done.returncode == 0, done.stderr
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


# Nothing is half-written.


def test_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the weights, one megabyte, do not fit."""
    (tmp_path / "out").mkdir()
    done = build_in_a_process(tmp_path / "out" / "model.so", tmp_path / "scratch", str(1 << 18))
    assert done.returncode == OutputError.exit_code
    assert done.stderr.startswith("OutputError: building in the temporary folder failed")
    assert "TMPDIR" in done.stderr
    assert names_in(tmp_path / "out") == names_in(tmp_path / "scratch") == []


def refuse_second_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the weights be copied to the output's folder, and the library meet a full disk."""
    copied: list[Path] = []
    copy = artifact._copy

    def limited(source: Path, part: Path, mode: int) -> None:
        copy(source, part, mode)
        copied.append(part)
        if len(copied) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifact, "_copy", limited)


def test_disk_that_is_full_for_the_library_keeps_what_was_there(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"model.so": b"old library", "model.so.weights": b"old weights"}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    refuse_second_copy(monkeypatch)
    with pytest.raises(OutputError, match=r"model\.so can't be written: .* \(the disk is full\)"):
        build_artifact(program, tmp_path / "model.so", 0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("before", [{}, {"model.so.weights": b"old weights"}])
def test_library_that_can_not_be_renamed_leaves_the_weights_of_before(
    before: dict[str, bytes], program: Program, tmp_path: Path
) -> None:
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "model.so").mkdir()
    with pytest.raises(OutputError, match=r"model\.so can't be written: Is a directory"):
        build_artifact(program, tmp_path / "model.so", 0)
    assert names_in(tmp_path) == sorted([*before, "model.so"])
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_weights_that_can_not_be_renamed_leave_the_library_of_before(program: Program, tmp_path: Path) -> None:
    (tmp_path / "model.so").write_bytes(b"old library")
    (tmp_path / "model.so.weights").mkdir()
    with pytest.raises(OutputError, match=r"model\.so\.weights can't be written: Is a directory"):
        build_artifact(program, tmp_path / "model.so", 0)
    assert names_in(tmp_path) == ["model.so", "model.so.weights"]
    assert (tmp_path / "model.so").read_bytes() == b"old library"


def test_library_and_weights_are_replaced_together(program: Program, tmp_path: Path) -> None:
    for name in ("model.so", "model.so.weights"):
        (tmp_path / name).write_bytes(b"old")
    build_artifact(program, tmp_path / "model.so", 0)
    assert names_in(tmp_path) == ["model.so", "model.so.weights"]
    run(tmp_path / "model.so")


@pytest.mark.parametrize("step", ["compile_kernels", "write_constants", "compile_c", "run_zig", "seal"])
def test_failing_step_leaves_no_file(
    step: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise InternalError(f"{step} failed")

    monkeypatch.setattr(artifact, step, fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out").mkdir()
    with pytest.raises(InternalError, match=f"{step} failed"):
        build_artifact(program, tmp_path / "out" / "model.so", EMBED_ALL)
    assert names_in(tmp_path / "out") == names_in(tmp_path / "scratch") == []


def test_temporary_folder_that_is_missing_is_an_output_error(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match=r"temporary folder failed: .*missing.*TMPDIR"):
        build_artifact(program, tmp_path / "model.so", EMBED_ALL)


def test_folder_that_disappears_meanwhile_is_an_output_error(program: Program, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"model\.so can't be written: No such file"):
        build_artifact(program, tmp_path / "missing" / "model.so", EMBED_ALL)


def test_permissions_follow_the_users_mask(program: Program, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        build_artifact(program, tmp_path / "model.so", 0)
    finally:
        os.umask(before)
    assert (tmp_path / "model.so").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "model.so.weights").stat().st_mode & 0o777 == 0o640


def test_steps_are_told_in_order(program: Program, tmp_path: Path) -> None:
    steps: list[str] = []
    build_artifact(program, tmp_path / "model.so", EMBED_ALL, steps.append)
    assert steps == ["generate", "link"]


# Outputs that are refused before any work.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "is a folder; name a file in it, such as .*model.so"),
        ("missing/model.so", "missing does not exist; create it first"),
        ("file/model.so", "file does not exist"),
        ("old.so", "old.so exists; --force replaces it"),
        ("lone.so", "lone.so.weights exists; --force replaces it"),
        (os.fsdecode(b"a\xff.so"), "not valid UTF-8"),
    ],
)
def test_unusable_output_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for file in ("file", "old.so", "lone.so.weights"):
        (tmp_path / file).write_text("")
    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / name, force=False)


def test_folder_that_is_not_writable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere, so the answer of the system is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="is not writable"):
        check_output(tmp_path / "model.so", force=True)


@pytest.mark.parametrize(("name", "force"), [("new.so", False), ("old.so", True), ("new.so", True)])
def test_usable_output_is_accepted(name: str, force: bool, tmp_path: Path) -> None:
    (tmp_path / "old.so").write_text("as it was")
    check_output(tmp_path / name, force)
    # Nothing is written or deleted before there is something to replace it.
    assert names_in(tmp_path) == ["old.so"]
    assert (tmp_path / "old.so").read_text() == "as it was"


def test_manifest_survives_its_json(library: Path) -> None:
    manifest = read_artifact(library).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
