"""Depthwise convolutions that read their input in place: every way in which a tile can reach outside of an image."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from kernel_checks import LEVELS, assert_close, compile_operator, random
from reference_convolution import convolve
from tvm import relax, te

from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.lowering.convolution_computes import Window
from lepton_compiler.passes.lowering.packed_convolution_computes import packed_depthwise
from lepton_compiler.targets.cpu.loop_kinds import apply_marked_kinds
from lepton_compiler.targets.cpu.loop_tail import split_tails
from lepton_compiler.targets.cpu.packed_depthwise import PackedDepthwiseKnobs, schedule_packed_depthwise
from lepton_compiler.targets.registry import get_target


def _check(shape, kernel, target="native", **attributes) -> None:
    weight = random(shape[1], 1, *kernel, seed=1)
    operator = getattr(relax.op.nn, f"conv{len(kernel)}d")

    def build(emit, data):
        return relax.op.nn.relu(emit(operator(data, relax.const(weight), groups=shape[1], **attributes)))

    compiled = compile_operator(build, shape, arrange=PackActivations(), target=target)
    assert [item.refused for item in compiled.kernels if item.refused] == []
    data = random(*shape)
    expected = np.maximum(convolve(data, weight, groups=shape[1], **attributes), 0)
    assert_close(compiled(data), expected)
    assert "packed_depthwise" in compiled.anchors


@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize(
    ("size", "kernel", "padding"),
    [
        ((1, 1), (3, 3), [1, 1, 1, 1]),
        ((2, 3), (5, 5), [2, 2, 2, 2]),
        ((9, 8), (3, 3), [0, 2, 1, 0]),
        ((9, 17), (3, 5), [4, 0, 0, 4]),
        ((17, 33), (7, 3), [3, 1, 3, 1]),
        ((5, 40), (1, 9), [0, 12, 0, 11]),
        ((40, 5), (9, 1), [12, 0, 11, 0]),
    ],
)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 2)])
def test_every_border(target, size, kernel, padding, stride, dilation):
    reach = [(extent - 1) * dilation + 1 for extent in kernel]
    if any(size[i] + padding[i] + padding[i + 2] < reach[i] for i in range(2)):
        pytest.skip("the kernel is larger than the image with its border")
    attributes = {"strides": [stride] * 2, "padding": padding, "dilation": [dilation] * 2}
    _check((2, 20, *size), kernel, target, **attributes)


@pytest.mark.parametrize("size", [1, 8, 37])
def test_one_axis(size):
    _check((1, 20, size), (5,), strides=[1], padding=[3, 2], dilation=[1])


def test_three_axes():
    _check((1, 20, 3, 5, 9), (3, 3, 3), strides=[1, 2, 1], padding=[1] * 6, dilation=[1] * 3)


@pytest.mark.parametrize("knobs", [(1, 4, 1), (2, 3, 1), (2, 5, 3), (3, 7, 2), (5, 2, 4)])
@pytest.mark.parametrize("size", [(13, 11), (7, 7)])
def test_every_tile(size, knobs):
    spec = get_target("native")
    lanes = spec.vector_lanes()
    data = te.placeholder((1, 2, *size, lanes), "float32", name="data")
    taps = te.placeholder((2, 3, 3, lanes), "float32", name="taps")
    result = packed_depthwise(data, taps, Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1)))
    schedule = tvm.s_tir.Schedule(te.create_prim_func([data, taps, result]))
    schedule, words = schedule_packed_depthwise(schedule, spec, PackedDepthwiseKnobs(*knobs))
    assert words.startswith(f"tile_rows={knobs[0]} tile_columns={knobs[1]} chunks={knobs[2]}")
    function = split_tails(apply_marked_kinds(schedule.mod["main"])).with_attr("global_symbol", "main")
    library = tvm.tirx.build(tvm.IRModule({"main": function}), tvm.target.Target(spec.llvm_target()))
    inputs = [random(1, 2, *size, lanes), random(2, 3, 3, lanes, seed=1)]
    output = tvm.runtime.empty((1, 2, *size, lanes), "float32")
    library["main"](*[tvm.runtime.tensor(array) for array in inputs], output)
    planes = np.moveaxis(inputs[0], -1, 2).reshape(1, 2 * lanes, *size)
    weight = np.moveaxis(inputs[1], -1, 1).reshape(2 * lanes, 1, 3, 3)
    expected = convolve(planes, weight, groups=2 * lanes, strides=[1, 1], padding=[1] * 4, dilation=[1, 1])
    assert_close(np.moveaxis(output.numpy(), -1, 2).reshape(expected.shape), expected)
