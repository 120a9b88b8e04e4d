from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import check_numbers, run_pass
from tvm import relax

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy

LANES = 4
"""Of x86-64-v2, which the checks compile for."""


def _weight(*shape: int, seed: int = 0) -> relax.Expr:
    return relax.const(np.random.default_rng(seed).standard_normal(shape).astype(np.float32) / 4)


def _check(build, shape):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x], attrs={"input_names": ["x"], "output_names": ["y"]}):
        with builder.dataflow():
            output = builder.emit_output(build(builder.emit, x))
        builder.emit_func_output(output)
    module = builder.get()
    result = run_pass(PackActivations(WinogradPolicy(enabled=False)), module)
    check_numbers(module, result.module, tolerance=2e-6, dimensions=None)
    return result


def _transposes(module: tvm.IRModule) -> list[list[int]]:
    return [
        [int(axis) for axis in binding.value.attrs.axes]
        for binding in bindings(module)
        if operator_name(binding.value) == "relax.permute_dims"
    ]


def _block(channels: int, rank: int):
    """A convolution, a product over channels that are last, and a convolution again."""
    conv = getattr(relax.op.nn, f"conv{rank - 2}d")
    ones = [1] * (rank - 2)

    def build(emit, x):
        y = emit(conv(x, _weight(channels, LANES, *ones)))
        last = emit(relax.op.permute_dims(y, [0, *range(2, rank), 1]))
        product = emit(relax.op.matmul(last, _weight(channels, channels, seed=1)))
        first = emit(relax.op.permute_dims(product, [0, rank - 1, *range(1, rank - 1)]))
        return emit(conv(first, _weight(LANES, channels, *ones, seed=2)))

    return build


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 4, 3, 5), (2, 4, 1, 1), (1, 4, 2, 3, 4)])
def test_whole_vectors_cross_the_border_at_once(shape):
    rank = len(shape)
    moved = _transposes(_check(_block(8, rank), shape).module)
    assert moved[:2] == [[0, *range(2, rank), 1, rank], [0, rank - 1, *range(1, rank - 1), rank]]


def test_partial_vectors_go_by_way_of_plain_channels():
    moved = _transposes(_check(_block(6, 4), (1, 4, 3, 5)).module)
    assert [0, 2, 3, 1, 4] not in moved


def test_another_transpose_of_a_packed_tensor_stays():
    def build(emit, x):
        return emit(relax.op.permute_dims(emit(relax.op.nn.conv2d(x, _weight(8, 4, 1, 1))), [0, 1, 3, 2]))

    assert [0, 1, 3, 2] in _transposes(_check(build, (1, 4, 3, 5)).module)
