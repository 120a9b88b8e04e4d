"""Inference batch norm as a scale and a shift for each channel.

    gamma * (x - mean) / sqrt(var + epsilon) + beta   ->   x * s + t
    with s = gamma / sqrt(var + epsilon),  t = beta - mean * s

Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 2.
"""

from __future__ import annotations

import numpy as np
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.passes.canonicalize.constant_arrays import array_of
from lepton_compiler.passes.main_graph import MainGraph, Node


def normalized_by(graph: MainGraph, node: Node) -> relax.Call | None:
    """The batch norm whose normalized tensor ``node`` takes, None for any other node."""
    if not isinstance(node.value, relax.TupleGetItem) or node.value.index != 0:
        return None
    source = graph.definition(node.value.tuple_value)
    return source if isinstance(source, relax.Call) and operator_name(source) == "relax.nn.batch_norm" else None


def scale_and_shift(norm: relax.Call) -> tuple[np.ndarray, np.ndarray] | str:
    """Scale and shift of an inference batch norm, float64, or what is in the way."""
    if norm.attrs.training:
        return "it normalizes by the statistics of the batch (training_mode is 1)"
    gamma, beta, mean, variance = (array_of(arg) for arg in norm.args[1:5])
    if gamma is None or beta is None or mean is None or variance is None:
        return "its scale, bias, mean or variance is not a constant"
    factor = gamma.astype(np.float64) if norm.attrs.scale else np.ones(len(mean))
    addend = beta.astype(np.float64) if norm.attrs.center else np.zeros(len(mean))
    with np.errstate(all="ignore"):
        scale = factor / np.sqrt(variance.astype(np.float64) + float(norm.attrs.epsilon))
        return scale, addend - mean.astype(np.float64) * scale
