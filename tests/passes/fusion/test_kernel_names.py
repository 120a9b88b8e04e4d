"""Kernel names: valid in C, readable, short."""

from __future__ import annotations

import pytest

from lepton_compiler.passes.fusion.kernel_names import base_name, fused_name


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("conv2d", "conv2d"),
        ("conv2d12", "conv2d"),
        ("add3", "add"),
        ("tir_sqrt1", "sqrt"),
        ("a.b-c", "a_b_c"),
        ("7", "kernel"),
    ],
)
def test_base_names(name: str, base: str) -> None:
    assert base_name(name) == base


def test_fused_names_are_cut_at_six_parts() -> None:
    assert fused_name(["conv2d1", "add", "relu2"]) == "fused_conv2d_add_relu"
    assert fused_name(["add"] * 6) == "fused_add_add_add_add_add_add"
    assert fused_name(["add"] * 7) == "fused_add_add_add_add_add_and_2_more"
