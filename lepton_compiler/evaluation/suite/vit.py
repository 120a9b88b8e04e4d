"""Vision Transformer, from its published definition, with random weights.

Alexey Dosovitskiy et al.: "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021,
arXiv:2010.11929. ViT-S/16 is the size that Hugo Touvron et al. give in arXiv:2012.12877, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from lepton_compiler.evaluation.suite.graph_writer import Dim, GraphWriter

_EPSILON = 1e-6


@dataclass(frozen=True)
class Vit:
    """Shape of a Vision Transformer; the defaults are ViT-S/16 at 224 pixels."""

    layers: int = 12
    width: int = 384
    heads: int = 6
    patch: int = 16
    image: int = 224
    classes: int = 1000


VIT_S16 = Vit()


def build_vit(shape: Vit, batch: Dim = 1, seed: int = 0) -> onnx.ModelProto:
    """Images ``input`` [batch, 3, image, image] to ``logits`` [batch, classes], float32."""
    graph = GraphWriter("vit", seed)
    x = _patches(graph, shape, graph.input("input", (batch, 3, shape.image, shape.image)), batch)
    for layer in range(shape.layers):
        x = _layer(graph, shape, x, layer)
    x = graph.layer_norm(x, shape.width, _EPSILON, "/norm", "norm")
    x = graph.node("Gather", [x, graph.constant("class_token_index", np.array(0))], "/Gather", axis=1)
    x = graph.gemm(x, shape.width, shape.classes, "head")
    return graph.model(x, "logits", (batch, shape.classes))


def _patches(graph: GraphWriter, shape: Vit, image: str, batch: Dim) -> str:
    """Tokens [batch, 1 + patches, width]: the class token, then one token a patch, positions added."""
    count = (shape.image // shape.patch) ** 2
    x = graph.convolution(
        image, 3, shape.width, shape.patch, "patch_embed.proj", stride=shape.patch, padding=0, variance=1.0
    )
    flat = graph.constant("flat_patches", np.array([0, shape.width, count]))
    x = graph.node("Reshape", [x, flat], "/patch_embed/Reshape")
    x = graph.node("Transpose", [x], "/patch_embed/Transpose", perm=[0, 2, 1])
    token = graph.weight("cls_token", (1, 1, shape.width), 1.0)
    if batch != 1:
        token = _for_each_image(graph, token, image, shape.width)
    x = graph.node("Concat", [token, x], "/Concat", axis=1)
    return graph.node("Add", [x, graph.weight("pos_embed", (1, count + 1, shape.width), 1.0)], "/Add")


def _for_each_image(graph: GraphWriter, token: str, image: str, width: int) -> str:
    """The class token [1, 1, width] as [batch, 1, width]."""
    batch = graph.node("Shape", [image], "/Shape", start=0, end=1)
    rest = graph.constant("class_token_size", np.array([1, width]))
    size = graph.node("Concat", [batch, rest], "/Concat_1", axis=0)
    return graph.node("Expand", [token, size], "/Expand")


def _layer(graph: GraphWriter, shape: Vit, x: str, layer: int) -> str:
    path, prefix = f"/blocks/blocks.{layer}", f"blocks.{layer}"
    y = graph.layer_norm(x, shape.width, _EPSILON, f"{path}/norm1", f"{prefix}.norm1")
    y = _attention(graph, shape, y, f"{path}/attn", f"{prefix}.attn")
    x = graph.node("Add", [x, y], f"{path}/Add")
    y = graph.layer_norm(x, shape.width, _EPSILON, f"{path}/norm2", f"{prefix}.norm2")
    y = graph.linear(y, shape.width, 4 * shape.width, f"{path}/mlp/fc1", f"{prefix}.mlp.fc1")
    y = graph.gelu(y, f"{path}/mlp/act")
    y = graph.linear(y, 4 * shape.width, shape.width, f"{path}/mlp/fc2", f"{prefix}.mlp.fc2")
    return graph.node("Add", [x, y], f"{path}/Add_1")


def _attention(graph: GraphWriter, shape: Vit, x: str, path: str, prefix: str) -> str:
    """Self-attention with query, key and value from one product, split by Gather as common exports do."""
    tokens, head = (shape.image // shape.patch) ** 2 + 1, shape.width // shape.heads
    x = graph.linear(x, shape.width, 3 * shape.width, f"{path}/qkv", f"{prefix}.qkv")
    split = graph.constant("split_heads", np.array([0, tokens, 3, shape.heads, head]))
    x = graph.node("Reshape", [x, split], f"{path}/Reshape")
    x = graph.node("Transpose", [x], f"{path}/Transpose", perm=[2, 0, 3, 1, 4])
    query, key, value = (
        graph.node("Gather", [x, graph.constant(f"qkv_index_{i}", np.array(i))], f"{path}/Gather_{i}", axis=0)
        for i in range(3)
    )
    query = graph.node("Mul", [query, graph.constant("attention_scale", np.float32(head**-0.5))], f"{path}/Mul")
    key = graph.node("Transpose", [key], f"{path}/Transpose_1", perm=[0, 1, 3, 2])
    weights = graph.node("Softmax", [graph.node("MatMul", [query, key], f"{path}/MatMul")], f"{path}/Softmax", axis=-1)
    mixed = graph.node("MatMul", [weights, value], f"{path}/MatMul_1")
    mixed = graph.node("Transpose", [mixed], f"{path}/Transpose_2", perm=[0, 2, 1, 3])
    merge = graph.constant("merge_heads", np.array([0, tokens, shape.width]))
    mixed = graph.node("Reshape", [mixed, merge], f"{path}/Reshape_1")
    return graph.linear(mixed, shape.width, shape.width, f"{path}/proj", f"{prefix}.proj")
