"""BERT encoders, from their published definition, with random or published weights.

Jacob Devlin, Ming-Wei Chang, Kenton Lee, Kristina Toutanova: "BERT: Pre-training of Deep Bidirectional Transformers for
Language Understanding", NAACL 2019, arXiv:1810.04805. Parameter names are those of the published checkpoints. MiniLM
(Wang et al., arXiv:2002.10957) is the same network, narrower.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from lepton_compiler.evaluation.suite.graph_writer import Dim, GraphWriter

MASKED_SCORE = -10000.0
"""What the published code adds to the attention scores of padding."""


@dataclass(frozen=True)
class Bert:
    """Shape of a BERT encoder; the defaults are BERT-base."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    intermediate: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    epsilon: float = 1e-12


BERT_BASE = Bert()
MINILM_L6 = Bert(layers=6, width=384, heads=12, intermediate=1536)


def build_bert(
    shape: Bert,
    batch: Dim = "batch",
    sequence: Dim = "sequence",
    seed: int = 0,
    weights: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """``input_ids``, ``attention_mask``, ``token_type_ids`` [batch, sequence] int64 to ``last_hidden_state`` float32.

    A batch or sequence given as a string stays symbolic; ``weights`` are a checkpoint's, by its own names.
    """
    graph = GraphWriter("bert", seed, weights)
    tokens = graph.input("input_ids", (batch, sequence), TensorProto.INT64)
    mask = graph.input("attention_mask", (batch, sequence), TensorProto.INT64)
    types = graph.input("token_type_ids", (batch, sequence), TensorProto.INT64)
    penalty = _attention_penalty(graph, mask)
    x = _embeddings(graph, shape, tokens, types)
    for layer in range(shape.layers):
        x = _layer(graph, shape, x, penalty, layer)
    return graph.model(x, "last_hidden_state", (batch, sequence, shape.width))


def _attention_penalty(graph: GraphWriter, mask: str) -> str:
    """``(1 - mask) * MASKED_SCORE`` as [batch, 1, 1, sequence]."""
    mask = graph.node("Unsqueeze", [mask, graph.constant("axes_1_2", np.array([1, 2]))], "/Unsqueeze")
    mask = graph.node("Cast", [mask], "/Cast", to=TensorProto.FLOAT)
    hidden = graph.node("Sub", [graph.constant("one", np.float32(1)), mask], "/Sub")
    return graph.node("Mul", [hidden, graph.constant("masked_score", np.float32(MASKED_SCORE))], "/Mul")


def _embeddings(graph: GraphWriter, shape: Bert, tokens: str, types: str) -> str:
    path, prefix = "/embeddings", "embeddings"
    words = graph.weight(f"{prefix}.word_embeddings.weight", (shape.vocabulary, shape.width), 1.0)
    kinds = graph.weight(f"{prefix}.token_type_embeddings.weight", (2, shape.width), 1.0)
    places = graph.weight(f"{prefix}.position_embeddings.weight", (shape.positions, shape.width), 1.0)
    length = graph.node("Shape", [tokens], f"{path}/Shape")
    length = graph.node("Gather", [length, graph.constant("axis_1", np.array([1]))], f"{path}/Gather")
    begin, axis = graph.constant("begin", np.array([0])), graph.constant("axis_0", np.array([0]))
    places = graph.node("Slice", [places, begin, length, axis], f"{path}/Slice")
    x = graph.node("Gather", [words, tokens], f"{path}/word_embeddings/Gather")
    kind = graph.node("Gather", [kinds, types], f"{path}/token_type_embeddings/Gather")
    x = graph.node("Add", [x, kind], f"{path}/Add")
    x = graph.node("Add", [x, places], f"{path}/Add_1")
    return graph.layer_norm(x, shape.width, shape.epsilon, f"{path}/LayerNorm", f"{prefix}.LayerNorm")


def _layer(graph: GraphWriter, shape: Bert, x: str, penalty: str, layer: int) -> str:
    path, prefix = f"/encoder/layer.{layer}", f"encoder.layer.{layer}"
    attended = _attention(graph, shape, x, penalty, f"{path}/attention/self", f"{prefix}.attention.self")
    output = f"{prefix}.attention.output"
    y = graph.linear(attended, shape.width, shape.width, f"{path}/attention/output/dense", f"{output}.dense")
    y = graph.node("Add", [y, x], f"{path}/attention/output/Add")
    x = graph.layer_norm(y, shape.width, shape.epsilon, f"{path}/attention/output/LayerNorm", f"{output}.LayerNorm")
    y = graph.linear(x, shape.width, shape.intermediate, f"{path}/intermediate/dense", f"{prefix}.intermediate.dense")
    y = graph.gelu(y, f"{path}/intermediate/intermediate_act_fn")
    y = graph.linear(y, shape.intermediate, shape.width, f"{path}/output/dense", f"{prefix}.output.dense")
    y = graph.node("Add", [y, x], f"{path}/output/Add")
    return graph.layer_norm(y, shape.width, shape.epsilon, f"{path}/output/LayerNorm", f"{prefix}.output.LayerNorm")


def _attention(graph: GraphWriter, shape: Bert, x: str, penalty: str, path: str, prefix: str) -> str:
    head = shape.width // shape.heads
    split = graph.constant("split_heads", np.array([0, 0, shape.heads, head]))
    merge = graph.constant("merge_heads", np.array([0, 0, shape.width]))

    def project(name: str, order: list[int]) -> str:
        y = graph.linear(x, shape.width, shape.width, f"{path}/{name}", f"{prefix}.{name}")
        y = graph.node("Reshape", [y, split], f"{path}/{name}/Reshape")
        return graph.node("Transpose", [y], f"{path}/{name}/Transpose", perm=order)

    query, key, value = project("query", [0, 2, 1, 3]), project("key", [0, 2, 3, 1]), project("value", [0, 2, 1, 3])
    scores = graph.node("MatMul", [query, key], f"{path}/MatMul")
    scores = graph.node("Div", [scores, graph.constant("sqrt_head", np.float32(head**0.5))], f"{path}/Div")
    scores = graph.node("Add", [scores, penalty], f"{path}/Add")
    weights = graph.node("Softmax", [scores], f"{path}/Softmax", axis=-1)
    mixed = graph.node("MatMul", [weights, value], f"{path}/MatMul_1")
    mixed = graph.node("Transpose", [mixed], f"{path}/Transpose", perm=[0, 2, 1, 3])
    return graph.node("Reshape", [mixed, merge], f"{path}/Reshape")
