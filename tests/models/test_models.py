"""Whole models against ONNX Runtime: one library a model, at every size that its symbolic dimensions are tried with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from agreement import assert_agrees, onnxruntime_outputs
from compiled_models import CompiledModels
from light_models import LIGHT_MODELS, carried_input, carried_output, light_model
from model_zoo import LARGE, QUICK, ZooModel, find

import lepton_compiler
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation.suite.bert import MINILM_L6, build_bert

LIGHT_ABSOLUTE_TOLERANCE = 1e-7
"""As ``onnx.backend.test`` has it for these models."""


def _name(model: ZooModel) -> str:
    return model.name


def check_model(model: ZooModel, compiled_models: CompiledModels) -> None:
    file = compiled_models.model(model)
    with lepton_compiler.load(compiled_models.library(model)) as compiled:
        for seed, sizes in enumerate(model.sizes):
            inputs = model.inputs(file, sizes, seed)
            assert_agrees(compiled(**inputs), onnxruntime_outputs(file, inputs))


@pytest.mark.parametrize("model", QUICK, ids=_name)
def test_agrees_with_onnxruntime(model: ZooModel, compiled_models: CompiledModels) -> None:
    check_model(model, compiled_models)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", LARGE, ids=_name)
def test_large_model_agrees_with_onnxruntime(model: ZooModel, compiled_models: CompiledModels) -> None:
    check_model(model, compiled_models)
    compiled_models.discard(model)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", LIGHT_MODELS)
def test_light_model_gives_the_output_that_the_onnx_package_carries(name: str, tmp_path: Path) -> None:
    from lepton_compiler.driver import compile_model

    compile_model(light_model(name), tmp_path / "model.so", CompileOptions())
    with lepton_compiler.load(tmp_path / "model.so") as compiled:
        (output,) = compiled(**carried_input(light_model(name))).values()
    (tmp_path / "model.so").unlink()
    np.testing.assert_allclose(
        output, carried_output(name), rtol=LIGHT_MODELS[name], atol=LIGHT_ABSOLUTE_TOLERANCE, strict=True
    )


@pytest.mark.parametrize(
    "name",
    [
        "resnet_small",
        "vgg_small",
        "vit_small",
        "bert_small",
        "mobilenet_v2_small",
        "unet_small",
        "yolo_v8_small",
        "convnext_small",
        "lstm",
        "gru",
    ],
)
def test_built_models_are_valid_and_the_same_every_time(name: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    path = find(name).file(first)
    onnx.checker.check_model(path, full_check=True)
    assert path.read_bytes() == find(name).file(second).read_bytes()


def test_a_published_weight_of_another_shape_is_refused() -> None:
    weights = {"embeddings.word_embeddings.weight": np.zeros((10, 4), np.float32)}
    with pytest.raises(ValueError, match=r"embeddings\.word_embeddings\.weight has shape \(10, 4\)"):
        build_bert(MINILM_L6, weights=weights)
