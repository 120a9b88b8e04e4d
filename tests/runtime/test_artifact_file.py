"""Checks of an artifact before its code is loaded: whatever is wrong with the file, no code of it runs."""

from __future__ import annotations

import ctypes
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from tiny_library import HOST, LibraryBuilder, manifest_of, with_target

from lepton_compiler.core.abi import API_VERSION, weights_trailer
from lepton_compiler.core.errors import ArtifactError
from lepton_compiler.core.manifest import FORMAT, Manifest, WeightsEntry
from lepton_compiler.runtime.artifact_file import read_artifact, read_manifest, seal
from lepton_compiler.runtime.elf_sections import read_elf
from lepton_compiler.runtime.model import load

LEPTON_ERROR_WEIGHTS = 8


@dataclass(frozen=True)
class Trap:
    """A valid library that leaves a marker as soon as its code runs."""

    path: Path
    marker: Path

    def copy(self, folder: Path, data: bytes | None = None) -> Path:
        """Writes the library, or other bytes in its place, to a folder."""
        path = folder / "model.so"
        path.write_bytes(self.path.read_bytes() if data is None else data)
        return path

    def assert_refused(self, path: Path, message: str = "") -> None:
        """Loading fails, says why, and runs nothing."""
        with pytest.raises(ArtifactError) as error:
            load(path)
        assert message in str(error.value)
        assert path.name in str(error.value)
        assert not self.marker.exists()


@pytest.fixture(scope="module")
def make_trap(builder: LibraryBuilder) -> Callable[..., Trap]:
    def make(manifest: Manifest | None = None, architecture: str = HOST) -> Trap:
        marker = builder.scratch() / "code_ran"
        return Trap(builder.build("affine", manifest=manifest, architecture=architecture, marker=marker), marker)

    return make


@pytest.fixture(scope="module")
def trap(make_trap: Callable[..., Trap]) -> Trap:
    return make_trap()


def test_marker_works(make_trap: Callable[..., Trap]) -> None:
    trap = make_trap()
    load(trap.path)
    assert trap.marker.exists()


def test_manifest_round_trip(affine: Path) -> None:
    assert read_manifest(affine) == manifest_of("affine")


def test_digest_is_the_hash_with_its_own_bytes_zero(affine: Path) -> None:
    artifact = read_artifact(affine)
    data = affine.read_bytes()
    assert data.count(artifact.digest) == 1
    assert hashlib.sha256(data.replace(artifact.digest, bytes(32))).digest() == artifact.digest


def test_truncated_anywhere(trap: Trap, tmp_path: Path) -> None:
    data = trap.path.read_bytes()
    rng = random.Random(1)
    lengths = {*range(0, 70), *range(70, len(data), len(data) // 60), *rng.sample(range(len(data)), 60), len(data) - 1}
    for length in sorted(lengths):
        trap.assert_refused(trap.copy(tmp_path, data[:length]), "can't be loaded")


def test_any_flipped_bit(trap: Trap, tmp_path: Path) -> None:
    data = trap.path.read_bytes()
    rng = random.Random(2)
    section_table = len(data) - 64 * 32
    positions = [*range(0, 64), *rng.sample(range(len(data)), 250), *rng.sample(range(section_table, len(data)), 150)]
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        trap.assert_refused(trap.copy(tmp_path, bytes(damaged)))


def test_appended_bytes(trap: Trap, tmp_path: Path) -> None:
    trap.assert_refused(trap.copy(tmp_path, trap.path.read_bytes() + b"\0"), "its digest does not match its bytes")


def test_never_sealed(trap: Trap, tmp_path: Path) -> None:
    data = trap.path.read_bytes()
    digest = read_artifact(trap.path).digest
    trap.assert_refused(trap.copy(tmp_path, data.replace(digest, bytes(32))), "its digest does not match its bytes")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x7fELF", b"\0" * 5000, b"\x7fELF" + b"\xff" * 5000])
def test_not_a_library(trap: Trap, tmp_path: Path, data: bytes) -> None:
    trap.assert_refused(trap.copy(tmp_path, data), "can't be loaded")


def test_missing_file_and_folder(trap: Trap, tmp_path: Path) -> None:
    trap.assert_refused(tmp_path / "absent.so", "can't be read: No such file or directory")
    trap.assert_refused(tmp_path, "can't be read: Is a directory")


def test_other_libraries(trap: Trap, tmp_path: Path) -> None:
    import _ctypes

    path = tmp_path / "model.so"
    shutil.copyfile(_ctypes.__file__, path)
    trap.assert_refused(path, "it has 0 sections .lepton_digest, one is expected: it is no compiled model")


def _reseal(path: Path) -> None:
    """Makes the digest right again after a change, as someone who means harm would."""
    elf_section = _digest_offset(path)
    data = bytearray(path.read_bytes())
    data[elf_section : elf_section + 32] = bytes(32)
    path.write_bytes(bytes(data))
    seal(path)


def _digest_offset(path: Path) -> int:
    with path.open("rb") as file:
        return read_elf(file).section(".lepton_digest").offset


def test_other_format_version(trap: Trap, tmp_path: Path) -> None:
    path = trap.copy(tmp_path)
    old, new = f'"format":{FORMAT},'.encode(), f'"format":{FORMAT + 3},'.encode()
    data = path.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    _reseal(path)
    trap.assert_refused(path, f"the manifest has format {FORMAT + 3}, this version of Lepton reads {FORMAT}")


@pytest.mark.parametrize("field", ["model", "outputs", "target"])
def test_manifest_without_a_field(trap: Trap, tmp_path: Path, field: str) -> None:
    path = trap.copy(tmp_path)
    old, new = f',"{field}":'.encode(), f',"x{field[1:]}":'.encode()
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    _reseal(path)
    trap.assert_refused(path, f"the manifest's field manifest.{field} is missing")


def test_other_architecture(make_trap: Callable[..., Trap]) -> None:
    other = "aarch64" if HOST == "x86_64" else "x86_64"
    trap = make_trap(architecture=other)
    assert read_manifest(trap.path).target.architecture == other
    trap.assert_refused(trap.path, f"was compiled for {other} (target test), this machine is {HOST}")


def test_code_for_another_machine_than_the_manifest_says(make_trap: Callable[..., Trap]) -> None:
    trap = make_trap(manifest=manifest_of("affine"), architecture="aarch64" if HOST == "x86_64" else "x86_64")
    trap.assert_refused(trap.path, f"its manifest says {HOST}, but its code is for ELF machine")


def test_unknown_architecture(make_trap: Callable[..., Trap]) -> None:
    trap = make_trap(manifest=with_target(manifest_of("affine"), architecture="pdp11"))
    trap.assert_refused(trap.path, "its manifest says pdp11")


def test_missing_processor_features(make_trap: Callable[..., Trap]) -> None:
    trap = make_trap(manifest=with_target(manifest_of("affine"), cpu_features=("warp_drive", "flux")))
    trap.assert_refused(trap.path, "this processor lacks warp_drive, flux: compile the model with --target native here")


def test_executable_is_refused(trap: Trap, tmp_path: Path) -> None:
    path = trap.copy(tmp_path)
    data = bytearray(path.read_bytes())
    data[16] = 2  # e_type: ET_EXEC
    path.write_bytes(bytes(data))
    _reseal(path)
    trap.assert_refused(path, "it is an ELF file, but no shared library")


SCALE = np.array([2, 3, 4, 5, 6, 7], np.float32)
WEIGHTS = SCALE.tobytes()
WEIGHTS_SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def with_weights_file(builder: LibraryBuilder) -> Path:
    entry = WeightsEntry(len(WEIGHTS), "affine.weights", WEIGHTS_SHA256)
    manifest = replace(manifest_of("affine"), weights=entry)
    digest = ",".join(map(str, bytes.fromhex(WEIGHTS_SHA256)))
    defines = ['WEIGHTS_FILE="affine.weights"', f"WEIGHTS_SHA256={digest}"]
    path = builder.build("affine", manifest=manifest, defines=defines)
    path.with_name("affine.weights").write_bytes(WEIGHTS + weights_trailer(WEIGHTS_SHA256))
    return path


def test_weights_file(with_weights_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    x = np.ones((4, 6), np.float32)
    np.testing.assert_array_equal(load(with_weights_file)(x)["y"], np.tile(SCALE, (4, 1)))
    copy = tmp_path / "moved.so"
    shutil.copyfile(with_weights_file, copy)
    with pytest.raises(ArtifactError, match=r"needs its weights file .*affine\.weights, which can't be read: No such"):
        load(copy)
    shutil.copyfile(with_weights_file.with_name("affine.weights"), tmp_path / "affine.weights")
    np.testing.assert_array_equal(load("moved.so")(x)["y"], np.tile(SCALE, (4, 1)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "has 87 bytes, affine.so needs 88"),
        (lambda data: data + b"\0", "has 89 bytes, affine.so needs 88"),
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "does not belong to affine.so, or it is damaged"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "does not belong to affine.so, or it is damaged"),
    ],
)
def test_damaged_weights_file(with_weights_file: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    weights = with_weights_file.with_name("affine.weights")
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ArtifactError) as error:
        load(with_weights_file)
    assert message in str(error.value)


def open_from_c(library: Path) -> tuple[int, str]:
    """Status and error text of ``lepton_open``, without the checks of the Python loader."""
    functions = ctypes.CDLL(str(library))
    functions.lepton_last_error.restype = ctypes.c_char_p
    session = ctypes.c_void_p()
    status = functions.lepton_open(API_VERSION, ctypes.byref(session))
    text = functions.lepton_last_error().decode()
    functions.lepton_close(session)
    return status, text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "has 87 bytes, the model needs 88"),
        (lambda data: WEIGHTS, "has 24 bytes, the model needs 88"),
        (lambda data: b"X".join([data[:24], data[25:]]), "does not belong to this library, or it is damaged"),
        (lambda data: WEIGHTS + weights_trailer("ab" * 32), "does not belong to this library, or it is damaged"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "does not belong to this library, or it is damaged"),
    ],
)
def test_c_programs_are_refused_other_weights(
    with_weights_file: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    weights = with_weights_file.with_name("affine.weights")
    good = weights.read_bytes()
    weights.write_bytes(damage(good))
    status, text = open_from_c(with_weights_file)
    assert (status, message in text, weights.name in text) == (LEPTON_ERROR_WEIGHTS, True, True), text
    weights.write_bytes(good)
    assert open_from_c(with_weights_file)[0] == 0


@pytest.mark.parametrize("name", ["../affine.weights", "/etc/passwd", "..", ""])
def test_weights_file_that_leads_outside(make_trap: Callable[..., Trap], name: str) -> None:
    manifest = replace(manifest_of("affine"), weights=WeightsEntry(24, name, "0" * 64))
    trap = make_trap(manifest=manifest)
    trap.assert_refused(trap.path, "names a weights file that is no plain file name")


def test_seal_refuses_a_file_without_a_digest_section(tmp_path: Path) -> None:
    import _ctypes

    path = tmp_path / "other.so"
    shutil.copyfile(_ctypes.__file__, path)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match=r"0 sections \.lepton_digest"):
        seal(path)
    assert path.read_bytes() == before


def test_manifest_is_the_same_through_the_library(affine: Path) -> None:
    library = ctypes.CDLL(str(affine))
    data, size = ctypes.c_void_p(), ctypes.c_uint64()
    assert library.lepton_manifest(ctypes.byref(data), ctypes.byref(size)) == 0
    assert json.loads(ctypes.string_at(data.value, size.value)) == json.loads(manifest_of("affine").to_json())
