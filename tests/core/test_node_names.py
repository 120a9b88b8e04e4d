"""Bindings are called after the model's nodes."""

from __future__ import annotations

from lepton_compiler.core.node_names import names_node, node_of, nodes_of, with_nodes_named


def test_inner_bindings_belong_to_their_node() -> None:
    assert [node_of(part) for part in ("conv", "conv/1", "lstm/out1", "/layer/1/conv", "/conv/1x")] == [
        "conv", "conv", "lstm", "/layer/1/conv", "/conv/1x",
    ]  # fmt: skip
    assert nodes_of("conv/1+conv+relu") == "conv+relu"


def test_a_node_is_found_by_its_name() -> None:
    assert names_node("a/conv/1+relu", "a/conv")
    assert names_node("a/conv/1", "a/conv/1")
    assert names_node("layer_0/conv", "layer.0/conv")
    assert not names_node("a/conv/1+relu", "conv")


def test_sentences_speak_of_nodes() -> None:
    sentence = "folded into cv/1, not cv/10 or a/cv/1"
    assert with_nodes_named(sentence, ["cv/1"]) == "folded into cv, not cv/10 or a/cv/1"
