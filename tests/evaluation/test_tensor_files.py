"""``.npz`` files: complete or not there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from lepton_compiler.core.errors import InputError, OutputError
from lepton_compiler.evaluation import tensor_files
from lepton_compiler.evaluation.tensor_files import read_tensors, write_tensors

TENSORS = {
    "encoder/out": np.arange(6, dtype=np.int64).reshape(2, 3),
    "file": np.float32([1.5]),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 4)),
    "reversed": np.arange(4)[::-1],
}


def test_written_tensors_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    write_tensors(path, TENSORS)
    read = read_tensors(path)
    assert list(read) == list(TENSORS)
    for name, value in TENSORS.items():
        assert (read[name].shape, read[name].dtype) == (value.shape, value.dtype)
        np.testing.assert_array_equal(read[name], value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.npz"]


def test_numpy_reads_what_we_write_and_the_other_way_round(tmp_path: Path) -> None:
    write_tensors(tmp_path / "ours.npz", {"x": TENSORS["encoder/out"]})
    with np.load(tmp_path / "ours.npz") as archive:
        np.testing.assert_array_equal(archive["x"], TENSORS["encoder/out"])
    np.savez_compressed(tmp_path / "theirs.npz", x=TENSORS["encoder/out"])
    np.testing.assert_array_equal(read_tensors(tmp_path / "theirs.npz")["x"], TENSORS["encoder/out"])


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.npz", TENSORS)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "t.npz").stat().st_mode) == 0o666 & ~mask


def test_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.npz"
    write_tensors(path, {"x": np.ones(3)})
    before = path.read_bytes()

    def disk_is_full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_files.np.lib.format, "write_array", disk_is_full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_tensors(path, TENSORS)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.npz"]


def test_damaged_member(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    write_tensors(path, {"x": np.arange(1000.0)})
    data = bytearray(path.read_bytes())
    data[3000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        read_tensors(path)
