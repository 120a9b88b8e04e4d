"""Models for tests of the suite's benchmark: two that compile in seconds, and one that can't be had."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import onnx

from lepton_compiler.core.errors import UserError
from lepton_compiler.evaluation.suite.models import SuiteModel
from lepton_compiler.evaluation.suite.resnet import ResNet, build_resnet
from lepton_compiler.evaluation.suite.unet import UNet, build_unet

NOT_TO_BE_HAD = "there is no such file"


def _write_resnet(path: Path, batch: int) -> Path:
    onnx.save(build_resnet(ResNet((1, 1), bottleneck=False, width=8, image=32, classes=10), batch), path)
    return path


def _write_unet(path: Path, batch: int) -> Path:
    onnx.save(build_unet(UNet((8, 16), image=16), batch), path)
    return path


def _fail(reason: str, path: Path, batch: int) -> Path:
    raise UserError(reason)


SMALL_RESNET = SuiteModel("small_resnet", "Small ResNet", _write_resnet, {"input": (3, 32, 32)})
SMALL_UNET = SuiteModel("small_unet", "Small U-Net", _write_unet, {"input": (3, 16, 16)})
BROKEN = SuiteModel("broken", "Broken", partial(_fail, NOT_TO_BE_HAD), {"input": (3, 32, 32)})
