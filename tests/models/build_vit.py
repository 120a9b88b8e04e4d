"""Vision Transformer, from its published definition, with random weights.

Alexey Dosovitskiy et al.: "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021,
arXiv:2010.11929. ViT-S/16 is the size that Hugo Touvron et al. give in arXiv:2012.12877, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from graph_writer import GraphWriter

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


def build_vit(shape: Vit, seed: int = 0) -> onnx.ModelProto:
    """One image ``input`` [1, 3, image, image] to ``logits`` [1, classes], float32."""
    graph = GraphWriter("vit", seed)
    x = _patches(graph, shape, graph.input("input", (1, 3, shape.image, shape.image)))
    for layer in range(shape.layers):
        x = _layer(graph, shape, x, layer)
    x = graph.layer_norm(x, shape.width, _EPSILON, "/norm", "norm")
    x = graph.node("Gather", [x, graph.constant("class_token_index", np.array(0))], "/Gather", axis=1)
    weight = graph.weight("head.weight", (shape.classes, shape.width), shape.width**-0.5)
    bias = graph.weight("head.bias", (shape.classes,), 0.1)
    x = graph.node("Gemm", [x, weight, bias], "/head/Gemm", transB=1)
    return graph.model(x, "logits", (1, shape.classes))


def _patches(graph: GraphWriter, shape: Vit, image: str) -> str:
    """Tokens [1, 1 + patches, width]: the class token, then one token a patch, positions added."""
    count = (shape.image // shape.patch) ** 2
    scale = (3 * shape.patch * shape.patch) ** -0.5
    weight = graph.weight("patch_embed.proj.weight", (shape.width, 3, shape.patch, shape.patch), scale)
    bias = graph.weight("patch_embed.proj.bias", (shape.width,), 0.1)
    size = [shape.patch, shape.patch]
    x = graph.node("Conv", [image, weight, bias], "/patch_embed/proj/Conv", kernel_shape=size, strides=size)
    flat = graph.constant("flat_patches", np.array([1, shape.width, count]))
    x = graph.node("Reshape", [x, flat], "/patch_embed/Reshape")
    x = graph.node("Transpose", [x], "/patch_embed/Transpose", perm=[0, 2, 1])
    x = graph.node("Concat", [graph.weight("cls_token", (1, 1, shape.width), 1.0), x], "/Concat", axis=1)
    return graph.node("Add", [x, graph.weight("pos_embed", (1, count + 1, shape.width), 1.0)], "/Add")


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
    split = graph.constant("split_heads", np.array([1, tokens, 3, shape.heads, head]))
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
    merge = graph.constant("merge_heads", np.array([1, tokens, shape.width]))
    mixed = graph.node("Reshape", [mixed, merge], f"{path}/Reshape_1")
    return graph.linear(mixed, shape.width, shape.width, f"{path}/proj", f"{prefix}.proj")
