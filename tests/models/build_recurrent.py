"""Recurrent networks as ONNX operators: a bidirectional LSTM and a GRU, each with a dense layer on top.

Sepp Hochreiter, Juergen Schmidhuber: "Long Short-Term Memory", Neural Computation 9(8), 1997. Kyunghyun Cho et al.:
"Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation", EMNLP 2014,
arXiv:1406.1078.
"""

from __future__ import annotations

import numpy as np
import onnx

from lepton_compiler.evaluation.suite.graph_writer import GraphWriter


def build_lstm(features: int = 24, hidden: int = 32, steps: int = 12, classes: int = 10) -> onnx.ModelProto:
    """Two bidirectional LSTM layers over ``input`` [steps, 1, features], ``scores`` [steps, 1, classes], float32."""
    graph = GraphWriter("lstm")
    x = graph.input("input", (steps, 1, features))
    for layer, width in enumerate((features, 2 * hidden)):
        weights = [
            graph.weight(f"lstm.{layer}.W", (2, 4 * hidden, width), width**-0.5),
            graph.weight(f"lstm.{layer}.R", (2, 4 * hidden, hidden), hidden**-0.5),
            graph.weight(f"lstm.{layer}.B", (2, 8 * hidden), 0.1),
        ]
        x = graph.node("LSTM", [x, *weights], f"/lstm.{layer}/LSTM", hidden_size=hidden, direction="bidirectional")
        x = graph.node("Transpose", [x], f"/lstm.{layer}/Transpose", perm=[0, 2, 1, 3])
        x = graph.node("Reshape", [x, graph.constant("merge", np.array([0, 0, 2 * hidden]))], f"/lstm.{layer}/Reshape")
    x = graph.linear(x, 2 * hidden, classes, "/head", "head")
    return graph.model(x, "scores", (steps, 1, classes))


def build_gru(features: int = 24, hidden: int = 32, steps: int = 12, classes: int = 10) -> onnx.ModelProto:
    """Two GRU layers in both variants of the reset gate over ``input`` [steps, 1, features], ``scores`` as above."""
    graph = GraphWriter("gru")
    x = graph.input("input", (steps, 1, features))
    for layer, width in enumerate((features, hidden)):
        weights = [
            graph.weight(f"gru.{layer}.W", (1, 3 * hidden, width), width**-0.5),
            graph.weight(f"gru.{layer}.R", (1, 3 * hidden, hidden), hidden**-0.5),
            graph.weight(f"gru.{layer}.B", (1, 6 * hidden), 0.1),
        ]
        x = graph.node("GRU", [x, *weights], f"/gru.{layer}/GRU", hidden_size=hidden, linear_before_reset=layer)
        x = graph.node("Squeeze", [x, graph.constant("direction", np.array([1]))], f"/gru.{layer}/Squeeze")
    x = graph.linear(x, hidden, classes, "/head", "head")
    return graph.model(x, "scores", (steps, 1, classes))
