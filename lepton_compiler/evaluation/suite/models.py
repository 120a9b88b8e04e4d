"""The suite's models by name: how each is had, and what its inputs look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from lepton_compiler.build.toolchain import cache_folder
from lepton_compiler.core.errors import OutputError, UserError
from lepton_compiler.core.options import Dim
from lepton_compiler.evaluation.demo_model import DEMO_MODEL, fetch_demo_model
from lepton_compiler.evaluation.suite.bert import BERT_BASE, MINILM_L6, Bert, build_bert
from lepton_compiler.evaluation.suite.convnext import CONVNEXT_T, build_convnext
from lepton_compiler.evaluation.suite.input_fills import noise, stroke_pages
from lepton_compiler.evaluation.suite.mobilenet_v2 import MOBILENET_V2, build_mobilenet_v2
from lepton_compiler.evaluation.suite.resnet import RESNET18, RESNET50, build_resnet
from lepton_compiler.evaluation.suite.unet import UNET, build_unet
from lepton_compiler.evaluation.suite.vgg import VGG16, build_vgg
from lepton_compiler.evaluation.suite.vit import VIT_S16, build_vit
from lepton_compiler.evaluation.suite.yolo_v8 import YOLO_V8N, build_yolo_v8
from lepton_compiler.evaluation.wheel_file import WheelFile, fetch_wheel_file

Fill = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

PPOCR_DETECTOR = WheelFile(
    DEMO_MODEL.requirement,
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
)


@dataclass(frozen=True)
class SuiteModel:
    """A model of the suite; another process can be given it.

    Attributes:
        name: What users type.
        title: What tables call it.
        source: Gives the ONNX file for a batch; takes the path to write to where the model is built. A string keeps the
            batch symbolic.
        shapes: Shape of each input, without the batch in front.
        fill: Makes float inputs of a shape.
        below: Exclusive upper bound of each integer input that holds numbers.
        masks: Integer inputs that are all ones, so that nothing is hidden.
    """

    name: str
    title: str
    source: Callable[[Path, Dim], Path]
    shapes: Mapping[str, tuple[int, ...]]
    fill: Fill = noise
    below: Mapping[str, int] = field(default_factory=dict)
    masks: tuple[str, ...] = ()

    def file(self, folder: Path, batch: Dim) -> Path:
        """The ONNX file for this batch; a model that is built is written into ``folder``.

        Raises:
            LeptonError: It can't be written, or can't be downloaded.
        """
        return self.source(folder / f"{self.name}.onnx", batch)

    def batch_shapes(self, batch: Dim) -> dict[str, tuple[Dim, ...]]:
        """Shape of each input; a string is a symbolic batch."""
        return {name: (batch, *shape) for name, shape in self.shapes.items()}

    def inputs(self, batch: int, seed: int) -> dict[str, np.ndarray]:
        """Seeded inputs by name: float32, or int64 where ``below`` or ``masks`` names them."""
        random = np.random.default_rng(seed)
        return {name: self._input(random, name, (batch, *shape)) for name, shape in self.shapes.items()}

    def _input(self, random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name in self.masks:
            return np.ones(shape, np.int64)
        if name in self.below:
            return random.integers(0, self.below[name], shape, dtype=np.int64)
        return self.fill(random, shape)


def _write_built(build: Callable[..., onnx.ModelProto], path: Path, batch: Dim) -> Path:
    try:
        onnx.save(build(batch=batch), path)
    except OSError as error:
        raise OutputError(f"can't write {path.name} into {path.parent}: {error.strerror or error}") from error
    return path


def _fetch_detector(path: Path, batch: Dim) -> Path:
    return fetch_wheel_file(PPOCR_DETECTOR, cache_folder() / "suite")


def _fetch_recogniser(path: Path, batch: Dim) -> Path:
    return fetch_demo_model()


def _image(
    name: str, title: str, build: Callable[..., onnx.ModelProto], side: int, input_name: str = "input"
) -> SuiteModel:
    return SuiteModel(name, title, partial(_write_built, build), {input_name: (3, side, side)})


def _text(name: str, title: str, shape: Bert, tokens: int) -> SuiteModel:
    return SuiteModel(
        name,
        title,
        partial(_write_built, partial(build_bert, shape, sequence=tokens)),
        dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (tokens,)),
        below={"input_ids": shape.vocabulary, "token_type_ids": 2},
        masks=("attention_mask",),
    )


SUITE: dict[str, SuiteModel] = {
    model.name: model
    for model in (
        _image("resnet50", "ResNet-50", partial(build_resnet, RESNET50), RESNET50.image),
        _image("resnet18", "ResNet-18", partial(build_resnet, RESNET18), RESNET18.image),
        _image("vgg16", "VGG-16", partial(build_vgg, VGG16), VGG16.image),
        _image("mobilenet_v2", "MobileNetV2", partial(build_mobilenet_v2, MOBILENET_V2), MOBILENET_V2.image),
        SuiteModel("ppocr_det", "PP-OCRv4 det", _fetch_detector, {"x": (3, 640, 640)}, fill=stroke_pages),
        SuiteModel("ppocr_rec", "PP-OCRv4 rec", _fetch_recogniser, {"x": (3, 48, 320)}),
        _image("vit_s16", "ViT-S/16", partial(build_vit, VIT_S16), VIT_S16.image),
        _text("minilm", "MiniLM-L6", MINILM_L6, 128),
        _text("bert_base", "BERT-base", BERT_BASE, 128),
        _image("unet", "U-Net", partial(build_unet, UNET), UNET.image),
        _image("yolo_v8n", "YOLOv8n", partial(build_yolo_v8, YOLO_V8N), YOLO_V8N.image, "images"),
        _image("convnext_t", "ConvNeXt-T", partial(build_convnext, CONVNEXT_T), CONVNEXT_T.image),
    )
}
"""In the order of tables."""


def select_models(names: Sequence[str]) -> tuple[SuiteModel, ...]:
    """The models of these names in the order given, or all of them for ``["all"]``.

    Raises:
        UserError: A name is unknown; the message lists those that there are.
    """
    if list(names) == ["all"]:
        return tuple(SUITE.values())
    unknown = [name for name in names if name not in SUITE]
    if unknown or not names:
        raise UserError(f'the suite has no model "{", ".join(unknown)}"; its models: all, {", ".join(SUITE)}')
    return tuple(SUITE[name] for name in dict.fromkeys(names))
