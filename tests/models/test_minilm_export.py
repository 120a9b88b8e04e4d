"""MiniLM as PyTorch exports it, next to the graph that the tests build from the published definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from agreement import assert_agrees, onnxruntime_outputs
from compiled_models import CompiledModels
from model_zoo import find, minilm_weights

import lepton_compiler
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation.suite.bert import MINILM_L6

torch = pytest.importorskip("torch", reason="the export needs PyTorch")
transformers = pytest.importorskip("transformers", reason="the export needs transformers")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

EXPORT_TOLERANCE_OF_RANGE = 1e-5
"""Two graphs of the same network in ONNX Runtime differ by the order of their float32 sums alone."""


class _ByName(torch.nn.Module):
    """Hands the exporter's positional inputs on by name: the network's own order is not part of its interface."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        outputs = self.network(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return outputs.last_hidden_state


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published checkpoint, exported by PyTorch with batch and sequence symbolic."""
    from safetensors.torch import load_file

    shape = MINILM_L6
    config = transformers.BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        attn_implementation="eager",
    )
    network = transformers.BertModel(config, add_pooling_layer=False).eval()
    missing = network.load_state_dict(load_file(minilm_weights()), strict=False).missing_keys
    assert not missing, missing
    names = ["input_ids", "attention_mask", "token_type_ids"]
    path = tmp_path_factory.mktemp("export") / "minilm.onnx"
    with torch.no_grad():
        torch.onnx.export(
            _ByName(network),
            tuple(torch.ones(2, 8, dtype=torch.int64) for _ in names),
            str(path),
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_axes={name: {0: "batch", 1: "sequence"} for name in [*names, "last_hidden_state"]},
            opset_version=17,
            dynamo=False,
        )
    return path


def test_the_built_graph_is_the_exported_network(exported: Path, compiled_models: CompiledModels) -> None:
    model = find("minilm_any_length")
    built = compiled_models.model(model)
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    for seed, sizes in enumerate(model.sizes):
        inputs = model.inputs(built, sizes, seed)
        reference = {"last_hidden_state": session.run(["last_hidden_state"], inputs)[0]}
        assert_agrees(onnxruntime_outputs(built, inputs), reference, EXPORT_TOLERANCE_OF_RANGE)


def test_the_export_agrees_with_onnxruntime(exported: Path, tmp_path: Path) -> None:
    from lepton_compiler.driver import compile_model

    model = find("minilm_any_length")
    compile_model(exported, tmp_path / "model.so", CompileOptions(input_shapes=model.shapes))
    with lepton_compiler.load(tmp_path / "model.so") as compiled:
        for seed, sizes in enumerate(model.sizes):
            inputs = model.inputs(exported, sizes, seed)
            assert_agrees(compiled(**inputs), onnxruntime_outputs(exported, inputs))
