"""What bad input gets: a clear message, exit code 2, and nothing written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_onnx_models import write_external_data_model, write_model, write_unsupported_model

from lepton_compiler.core import manifest as manifest_format

FILE_SIZE_LIMIT = 64 << 10


def truncated(model: Path, path: Path) -> Path:
    path.write_bytes(model.read_bytes()[:-100])
    return path


def future_opset(path: Path) -> Path:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    return write_model(path, nodes, {"x": (TensorProto.FLOAT, [2])}, {"y": 1}, opset=999)


BAD_MODELS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "missing": (lambda folder, model: folder / "absent.onnx", "No such file"),
    "a folder": (lambda folder, model: folder, "is a folder"),
    "text": (lambda folder, model: _text(folder / "m.onnx"), "not an ONNX model"),
    "an artifact": (lambda folder, model: _bytes(folder / "m.onnx", b"\x7fELF\2\1\1"), "is a compiled artifact or"),
    "empty": (lambda folder, model: _bytes(folder / "m.onnx", b""), "is empty"),
    "truncated": (lambda folder, model: truncated(model, folder / "m.onnx"), "truncated"),
    "external data missing": (
        lambda folder, model: write_external_data_model(folder / "m.onnx", "w.bin"),
        "is missing",
    ),
    "external data outside": (
        lambda folder, model: write_external_data_model(folder / "m.onnx", "../w.bin"),
        "leads out of the model's folder",
    ),
    "unknown opset": (lambda folder, model: future_opset(folder / "m.onnx"), "999"),
    "contradicting shapes": (lambda folder, model: shapes_that_contradict(folder / "m.onnx"), "sum_of_unequals"),
    "unsupported operator": (lambda folder, model: write_unsupported_model(folder / "m.onnx"), "Frobnicate x2"),
}


def shapes_that_contradict(path: Path) -> Path:
    nodes = [helper.make_node("Add", ["x", "y"], ["z"], "sum_of_unequals")]
    inputs = {"x": (TensorProto.FLOAT, [2, 3]), "y": (TensorProto.FLOAT, [2, 4])}
    return write_model(path, nodes, inputs, {"z": 2})


def _text(path: Path) -> Path:
    path.write_text("This is no model.\n" * 20, encoding="ascii")
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", list(BAD_MODELS))
def test_bad_models(lepton, fixed_model: Path, tmp_path: Path, case: str) -> None:
    make, reason = BAD_MODELS[case]
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    result = lepton("compile", make(inputs, fixed_model), "-o", outputs / "model.so")
    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert list(outputs.iterdir()) == []


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ("pixels:[1,3,8,8]", 'no input "pixels"'),
        ("image:[1,3,8]", "has 4 dimensions"),
        ("image:[1,4,8,8]", "fixed to 3"),
        ("image:[0,3,8,8]", "at least 1"),
        ("image=1x3x8x8", "can't read the input shapes"),
        ("image:[1.5,3,8,8]", "neither a number nor a name"),
    ],
)
def test_bad_input_shapes(lepton, batch_model: Path, tmp_path: Path, shapes: str, reason: str) -> None:
    result = lepton("compile", batch_model, "-o", tmp_path / "model.so", "--input-shapes", shapes)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_unknown_target(lepton, fixed_model: Path, tmp_path: Path) -> None:
    result = lepton("compile", fixed_model, "-o", tmp_path / "model.so", "--target", "x86-65")
    assert result.exit_code == 2
    assert 'unknown target "x86-65"' in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_folder_is_missing(lepton, fixed_model: Path, tmp_path: Path) -> None:
    result = lepton("compile", fixed_model, "-o", tmp_path / "absent" / "model.so")
    assert result.exit_code == 2
    assert "absent" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_is_a_folder(lepton, fixed_model: Path, tmp_path: Path) -> None:
    result = lepton("compile", fixed_model, "-o", tmp_path, "--force")
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_output_is_no_regular_file(lepton, fixed_model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = lepton("compile", fixed_model, "-o", pipe, "--force")
    assert result.exit_code == 2
    assert "no regular file" in result.stderr
    assert pipe.is_fifo()


def test_output_is_the_model_itself(lepton, fixed_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(fixed_model.read_bytes())
    result = lepton("compile", model, "-o", model, "--force")
    assert result.exit_code == 2
    assert "is the model itself" in result.stderr
    assert model.read_bytes() == fixed_model.read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every folder")
@pytest.mark.parametrize("verb", ["compile", "run"])
def test_output_folder_is_not_writable(
    lepton, fixed_model: Path, fixed_library: Path, tmp_path: Path, verb: str
) -> None:
    tmp_path.chmod(0o500)
    arguments = {
        "compile": ("compile", fixed_model, "-o", tmp_path / "model.so"),
        "run": ("run", fixed_library, "--outputs", tmp_path / "out.npz"),
    }
    result = lepton(*arguments[verb])
    tmp_path.chmod(0o700)
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="/proc is a folder in which nobody can make files")
def test_folder_that_takes_no_files(lepton, fixed_model: Path, fixed_library: Path) -> None:
    compiled = lepton("compile", fixed_model, "-o", "/proc/model.so")
    assert compiled.exit_code == 2
    assert "/proc" in compiled.stderr
    ran = lepton("run", fixed_library, "--outputs", "/proc/out.npz")
    assert ran.exit_code == 2
    assert "/proc" in ran.stderr


def run_with_small_files(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs ``lepton`` in a process whose files can't grow beyond ``FILE_SIZE_LIMIT``, as if the disk were full."""
    limit = (FILE_SIZE_LIMIT, FILE_SIZE_LIMIT)
    return subprocess.run(
        [sys.executable, "-c", "from lepton_compiler.cli.main import main; main()", *map(str, arguments)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        capture_output=True,
        text=True,
    )


def test_disk_full_while_compiling(tmp_path: Path) -> None:
    weights = np.ones((64, 1024), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")]
    model = tmp_path / "model.onnx"
    write_model(model, nodes, {"x": (TensorProto.FLOAT, [1, 64])}, {"y": 2}, {"w": weights})
    outputs = tmp_path / "out"
    outputs.mkdir()
    result = run_with_small_files("compile", model, "-o", outputs / "model.so")
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert list(outputs.iterdir()) == []


def test_disk_full_while_writing_outputs(batch_library: Path, tmp_path: Path) -> None:
    arguments = ("--input-shapes", "image:[9000,3,8,8]", "--outputs", tmp_path / "out.npz")
    result = run_with_small_files("run", batch_library, *arguments)
    assert result.returncode == 2, result.stderr
    assert "can't write" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_truncated_artifact(lepton, fixed_library: Path, tmp_path: Path) -> None:
    for kept in (0, 3, 100, fixed_library.stat().st_size // 2, fixed_library.stat().st_size - 1):
        damaged = _bytes(tmp_path / "damaged.so", fixed_library.read_bytes()[:kept])
        for verb in ("run", "inspect"):
            result = lepton(verb, damaged)
            assert result.exit_code == 2, (verb, kept)
            assert "damaged.so" in result.stderr


def test_flipped_bit_anywhere_in_an_artifact(lepton, fixed_library: Path, tmp_path: Path) -> None:
    good = fixed_library.read_bytes()
    for position in np.linspace(0, len(good) - 1, 25, dtype=int):
        data = bytearray(good)
        data[position] ^= 0x10
        result = lepton("run", _bytes(tmp_path / "damaged.so", bytes(data)))
        assert result.exit_code == 2, position
        assert "damaged.so" in result.stderr


def test_artifact_for_another_machine(lepton, fixed_model: Path, tmp_path: Path) -> None:
    library = tmp_path / "other.so"
    assert lepton("compile", fixed_model, "-o", library, "--target", "arm-cortex-a72").exit_code == 0
    result = lepton("run", library)
    if os.uname().machine == "aarch64":
        assert result.exit_code == 0
    else:
        assert result.exit_code == 2
        assert "aarch64" in result.stderr


def test_artifact_for_a_better_processor(lepton, fixed_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lepton_compiler.targets.registry.host_cpu_features", lambda: frozenset({"sse4_2"}))
    result = lepton("run", fixed_library)
    assert result.exit_code == 2
    assert "lacks" in result.stderr


def test_artifact_of_another_version(lepton, fixed_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_format, "FORMAT", manifest_format.FORMAT + 1)
    result = lepton("run", fixed_library)
    assert result.exit_code == 2
    assert "compile the model again" in result.stderr


def test_library_that_is_no_artifact(lepton, tmp_path: Path) -> None:
    import _ctypes

    other = _bytes(tmp_path / "other.so", Path(_ctypes.__file__).read_bytes())
    for verb in ("run", "inspect"):
        result = lepton(verb, other)
        assert result.exit_code == 2
        assert "other.so" in result.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not an .npz file"),
        (b"hello" * 100, "is not an .npz file"),
        (b"PK\x03\x04" + b"\0" * 60, "is truncated"),
    ],
)
def test_input_file_that_is_no_npz(lepton, fixed_library: Path, tmp_path: Path, content: bytes, reason: str) -> None:
    result = lepton("run", fixed_library, "--inputs", _bytes(tmp_path / "in.npz", content))
    assert result.exit_code == 2
    assert reason in result.stderr


def test_input_file_with_pickled_objects(lepton, fixed_library: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", image=np.array([{"code": "runs"}], object))
    result = lepton("run", fixed_library, "--inputs", tmp_path / "in.npz")
    assert result.exit_code == 2
    assert "plain arrays" in result.stderr


def test_input_file_is_missing(lepton, fixed_library: Path, tmp_path: Path) -> None:
    result = lepton("run", fixed_library, "--inputs", tmp_path / "absent.npz")
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_reference_that_peers_cannot_read(lepton, fixed_library: Path, fixed_model: Path, tmp_path: Path) -> None:
    result = lepton("compare", fixed_library, truncated(fixed_model, tmp_path / "half.onnx"))
    assert result.exit_code == 2
    assert "onnxruntime can't load half.onnx" in result.stderr


def test_valid_models_pass_the_same_checks(lepton, fixed_model: Path, tmp_path: Path) -> None:
    """The defects above are what is refused, not the model that they were made from."""
    onnx.checker.check_model(str(fixed_model), full_check=True)
    result = lepton("compile", fixed_model, "-o", tmp_path / "m.so")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "m.so").is_file()


@pytest.mark.parametrize("batch", [2**31, 2**63 - 1, 10**20])
@pytest.mark.parametrize("verb", ["compile", "run", "inspect"])
def test_sizes_beyond_every_machine(lepton, batch_model: Path, tmp_path: Path, verb: str, batch: int) -> None:
    output = ["-o", tmp_path / "m.so"] if verb == "compile" else []
    result = lepton(verb, batch_model, *output, "--input-shapes", f"image:[{batch},3,8,8]")
    assert result.exit_code == 2
    assert f"a dimension of {batch} is too large" in result.stderr


def test_more_elements_than_every_machine_holds(lepton, batch_library: Path) -> None:
    result = lepton("run", batch_library, "--input-shapes", "image:[2000000000,2000000000,2000000000,8]")
    assert result.exit_code == 2
    assert "is larger than any memory" in result.stderr


def test_inputs_larger_than_this_machine(lepton, batch_library: Path) -> None:
    result = lepton("run", batch_library, "--input-shapes", "image:[2000000000,3,8,8]")
    assert result.exit_code == 2
    assert "the inputs take 1430.5 GiB, this machine has" in result.stderr


def test_memory_beyond_this_machine_is_warned_of(lepton, batch_model: Path, tmp_path: Path) -> None:
    result = lepton("compile", batch_model, "-o", tmp_path / "m.so", "--input-shapes", "image:[100000000,3,8,8]")
    assert result.exit_code == 0, result.output
    assert "warning: one run needs" in result.stderr
    assert "this machine has" in result.stderr


def test_memory_beyond_the_targets_addresses_is_refused(lepton, batch_model: Path, tmp_path: Path) -> None:
    shape = ("--input-shapes", "image:[10000000,3,8,8]")
    result = lepton("compile", batch_model, "-o", tmp_path / "m.so", "--target", "arm-cortex-a7", *shape)
    assert result.exit_code == 2
    assert "more than arm-cortex-a7 can address" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["compare", "benchmark"])
def test_reference_with_other_inputs(lepton, fixed_library: Path, tmp_path: Path, verb: str) -> None:
    nodes = [helper.make_node("Relu", ["picture"], ["y"], "relu")]
    other = write_model(tmp_path / "other.onnx", nodes, {"picture": (TensorProto.FLOAT, [1, 3, 8, 8])}, {"y": 4})
    result = lepton(verb, fixed_library, other)
    assert result.exit_code == 2
    assert "has the inputs picture, the artifact image: give the ONNX file that it was compiled from" in result.stderr


def test_termination_removes_temporary_files(fixed_model: Path, tmp_path: Path) -> None:
    """A compiler that hangs stands for one that takes long."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    script = (
        "from lepton_compiler.build import artifact\n"
        "import time\n"
        "def hang(*arguments):\n    print('here', flush=True)\n    time.sleep(60)\n"
        "artifact.generate_objects = hang\n"
        "from lepton_compiler.cli.main import main\nmain()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "compile", fixed_model, "-o", tmp_path / "m.so"],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        assert list(temporary.iterdir()) != []
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "m.so").exists()
