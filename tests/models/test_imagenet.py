"""MobileNetV2 on labelled photos: the predicted class equals ONNX Runtime's, image by image."""

from __future__ import annotations

import io

import numpy as np
import onnxruntime
import pytest
from compiled_models import CompiledModels
from model_zoo import SHARED, find
from PIL import Image

import lepton_compiler

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STANDARD_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's training pixels, as the model was trained with."""

SAMPLE_STEP = 15
LOWEST_AGREEMENT_WITH_LABELS = 0.6
"""Far below the model's accuracy: a guard against photos that were prepared wrongly, not a claim about the model."""


def photos(step: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Every ``step``-th photo as [1, 3, 224, 224] float32, and their labels."""
    path = SHARED / "data" / "imagenet_dev300.npz"
    if not path.is_file():
        pytest.skip("imagenet_dev300.npz is not in ../shared/data beside the checkout")
    archive = np.load(path)
    jpeg, offsets = archive["jpeg"].tobytes(), archive["offsets"]
    indices = range(0, len(offsets) - 1, step)
    images = [_prepared(jpeg[offsets[index] : offsets[index + 1]]) for index in indices]
    return images, archive["labels"][list(indices)]


def _prepared(jpeg: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.float32) / 255
    return np.ascontiguousarray(((pixels - MEAN) / STANDARD_DEVIATION).transpose(2, 0, 1)[np.newaxis])


def check_classes(compiled_models: CompiledModels, step: int) -> None:
    images, labels = photos(step)
    model = find("mobilenetv2")
    session = onnxruntime.InferenceSession(str(compiled_models.model(model)), providers=["CPUExecutionProvider"])
    expected = np.array([int(np.argmax(session.run(None, {"input": image})[0])) for image in images])
    with lepton_compiler.load(compiled_models.library(model)) as compiled:
        found = np.array([int(np.argmax(compiled(input=image)["logits"])) for image in images])
    np.testing.assert_array_equal(found, expected)
    assert np.mean(found == labels) > LOWEST_AGREEMENT_WITH_LABELS


def test_sample_of_photos_is_classified_as_onnxruntime_does(compiled_models: CompiledModels) -> None:
    check_classes(compiled_models, SAMPLE_STEP)


@pytest.mark.slow
def test_every_photo_is_classified_as_onnxruntime_does(compiled_models: CompiledModels) -> None:
    check_classes(compiled_models, 1)
