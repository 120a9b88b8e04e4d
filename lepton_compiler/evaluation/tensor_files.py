"""Tensors by name, read from and written to ``.npz`` files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lepton_compiler.core.errors import InputError
from lepton_compiler.core.result_files import complete_file

_ZIP_MAGIC = b"PK\x03\x04"


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an ``.npz`` file.

    Raises:
        InputError: No such file, not an ``.npz`` file, damaged, or it holds pickled objects.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
                    raise InputError(f"{path} is truncated: it begins as an .npz file, but its end is missing")
                raise InputError(f"{path} is not an .npz file; write one with numpy.savez(path, input_name=array)")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged or holds something else than plain arrays: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as an ``.npz`` file, which appears at ``path`` complete or not at all.

    Raises:
        OutputError: The file can't be written, for one because the disk is full.
    """
    with complete_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in tensors.items():
            # Names such as "encoder/out" are legal members; numpy.savez would refuse the name "file".
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
