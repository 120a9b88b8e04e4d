"""Computes a node while importing, where all its inputs are known."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

# Quantized weights stay quantized: the int8 passes look for this operator behind them.
_KEPT = frozenset({"DequantizeLinear"})
_RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
                     "Bernoulli"})  # fmt: skip
# These make large tensors out of small ones; as operators they cost nothing in the artifact.
_GROWING = frozenset({"ConstantOfShape", "Expand", "Range", "Tile", "EyeLike", "OneHot", "Resize", "Upsample", "Pad"})
_LARGEST_GROWN_BYTES = 64 << 20

# What the reference implementation and NumPy below it raise for a type, shape or attribute that they don't handle;
# its own errors are kinds of RuntimeError and NotImplementedError.
_FAILURES = (ArithmeticError, NotImplementedError, RuntimeError, TypeError, ValueError)


def is_foldable(node: onnx.NodeProto) -> bool:
    """Whether the node may be computed at compile time when its inputs are known."""
    if node.op_type in _KEPT | _RANDOM or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        return False
    return not any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def fold_node(node: onnx.NodeProto, inputs: Sequence[np.ndarray | None], opset: int) -> list[Any] | None:
    """Outputs of a node with known inputs, by ONNX's reference implementation.

    Args:
        node: The node; attributes must not refer to a function's.
        inputs: Its inputs in order.
        opset: Version of the default operator set.

    Returns:
        NumPy arrays (a list of them for a sequence), or None where it can't or should not be computed now.
    """
    if not is_foldable(node):
        return None
    feeds = {name: value for name, value in zip(node.input, inputs, strict=False) if name}
    model = _model_of(node, feeds, opset)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            outputs = ReferenceEvaluator(model).run(None, feeds)
    except _FAILURES:
        return None
    return _accepted(node, feeds, outputs)


def _model_of(node: onnx.NodeProto, feeds: dict[str, np.ndarray], opset: int) -> onnx.ModelProto:
    kept = onnx.NodeProto()
    kept.CopyFrom(node)
    inputs = [onnx.ValueInfoProto(name=name) for name in feeds]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.helper.make_graph([kept], "fold", inputs, outputs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def _accepted(node: onnx.NodeProto, feeds: dict[str, np.ndarray], outputs: Sequence[Any]) -> list[Any] | None:
    named = iter(outputs)
    results = [next(named) if name else None for name in node.output]
    for index, value in enumerate(results):
        if value is None or isinstance(value, list):
            continue
        results[index] = value = np.asarray(value)
        if value.dtype == object:
            return None
        grown = value.nbytes - sum(array.nbytes for array in feeds.values())
        if node.op_type in _GROWING and grown > _LARGEST_GROWN_BYTES:
            return None
    return results
