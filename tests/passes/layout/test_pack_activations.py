from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import build_module, check_numbers, reasons, run_pass, seeded_weight
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.errors import InternalError
from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.layout.packed_activations import pack_channels
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.passes.winograd.measured_algorithms import LayerTimes, MeasuredTime

DIRECT = PackActivations(WinogradPolicy(enabled=False))
LANES = 4
"""Of x86-64-v2, which the checks compile for."""


def _operators(module: tvm.IRModule) -> list[str]:
    return [(operator_name(binding.value) or "").removeprefix("relax.") for binding in bindings(module)]


def _check(build, *shapes, arrange: PackActivations = DIRECT):
    module = build_module(build, *shapes)
    result = run_pass(arrange, module)
    check_numbers(module, result.module, tolerance=2e-6, dimensions=None)
    return result


def test_layout_transforms_stand_at_the_borders_only():
    def build(emit, x):
        y = emit(relax.op.nn.conv2d(x, seeded_weight(8, 8, 3, 3), padding=[1] * 4))
        y = emit(relax.op.nn.relu(emit(relax.op.add(y, seeded_weight(1, 8, 1, 1)))))
        z = emit(relax.op.nn.conv2d(y, seeded_weight(8, 8, 1, 1, seed=1)))
        return emit(relax.op.add(y, z))

    result = _check(build, (1, 8, 5, 6))
    assert _operators(result.module) == [
        *("reshape", "permute_dims"),
        *("call_tir", "add", "nn.relu", "call_tir", "add"),
        *("permute_dims", "reshape"),
    ]


def test_the_packed_form_of_a_region():
    weight = np.ones((4, 4, 1, 1), np.float32)

    def build(emit, x):
        return emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, relax.const(weight)))))

    result = run_pass(DIRECT, build_module(build, (1, 4, 2, 3)))
    text = result.module["main"].script()
    assert "R.Tensor((1, 1, 2, 3, 4)" in text
    assert "R.nn.relu" in text


def test_an_image_is_read_as_it_comes():
    def build(emit, x):
        return emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, seeded_weight(8, 3, 3, 3), strides=[2, 2]))))

    result = _check(build, (1, 3, 9, 9))
    assert _operators(result.module)[0] == "call_tir"
    what, _, winograd = result.rewrites[0].what.partition("; ")
    assert what == "reads 3 plain channels, writes packed ones"
    assert winograd == "a stride of 2x2 has no Winograd algorithm here"


@pytest.mark.parametrize("channels", [8, 6, 1])
def test_operators_inside_of_a_region(channels):
    def build(emit, x):
        y = emit(relax.op.nn.conv2d(x, seeded_weight(channels, 6, 1, 1)))
        pooled = emit(relax.op.nn.max_pool2d(y, [2, 2], [2, 2]))
        pooled = emit(relax.op.nn.avg_pool2d(pooled, [3, 3], [1, 1], [1, 1, 1, 1]))
        mean = emit(relax.op.mean(pooled, [2, 3], keepdims=True))
        scaled = emit(relax.op.multiply(pooled, emit(relax.op.sigmoid(mean))))
        padded = emit(relax.op.nn.pad(scaled, [0, 0, 0, 0, 1, 0, 0, 2], pad_value=1.5))
        return emit(relax.op.strided_slice(padded, [2], [1], [3], assume_inbound=True))

    result = _check(build, (2, 6, 8, 8))
    assert reasons(result) == {}


@pytest.mark.parametrize(("first", "declined"), [(8, False), (6, True)])
def test_channels_join_as_whole_vectors(first, declined):
    def build(emit, x):
        one = emit(relax.op.nn.conv2d(x, seeded_weight(first, 4, 1, 1)))
        two = emit(relax.op.nn.conv2d(x, seeded_weight(6, 4, 1, 1, seed=1)))
        return emit(relax.op.concat([one, two], axis=1))

    result = _check(build, (1, 4, 5, 5))
    why = "leaves the packed region: it cuts vectors of channels into pieces of 2"
    assert (why in reasons(result).values()) == declined


def test_values_that_may_not_be_finite_leave_partial_vectors():
    def build(emit, x):
        y = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, seeded_weight(6, 4, 1, 1)))))
        return emit(relax.op.divide(relax.const(np.float32(1)), emit(relax.op.add(y, relax.const(np.float32(1))))))

    result = _check(build, (1, 4, 5, 5))
    why = "leaves the packed region: 6 channels are no whole vectors, and relax.divide may not be finite in the rest"
    assert why in reasons(result).values()


def test_constants_that_divide_are_filled_up_with_ones():
    def build(emit, x):
        y = emit(relax.op.nn.conv2d(x, seeded_weight(6, 4, 1, 1)))
        scaled = emit(relax.op.divide(y, relax.const(np.full((6, 1, 1), 2, np.float32))))
        return emit(relax.op.nn.conv2d(scaled, seeded_weight(4, 6, 1, 1, seed=1)))

    assert reasons(_check(build, (1, 4, 3, 3))) == {}


def test_broadcasts_of_every_kind():
    def build(emit, x, mask, row):
        y = emit(relax.op.nn.conv2d(x, seeded_weight(6, 4, 1, 1)))
        y = emit(relax.op.multiply(y, mask))
        y = emit(relax.op.add(y, row))
        y = emit(relax.op.add(y, seeded_weight(6, 1, 1, seed=2)))
        return emit(relax.op.add(y, seeded_weight(1, 6, 3, 5, seed=3)))

    assert reasons(_check(build, (1, 4, 3, 5), (1, 1, 3, 5), (5,))) == {}


BEHIND_ONE_CHANNEL = {
    "average pool": lambda emit, y, wide: relax.op.nn.avg_pool2d(y, [2, 2], [2, 2]),
    "maximum pool": lambda emit, y, wide: relax.op.nn.max_pool2d(y, [2, 2], [2, 2]),
    "reshape": lambda emit, y, wide: relax.op.reshape(y, [2, 1, 24]),
    "squeeze": lambda emit, y, wide: relax.op.reshape(emit(relax.op.mean(y, [2, 3], keepdims=True)), [2, 1, 1]),
    "concat": lambda emit, y, wide: relax.op.concat([wide, y], axis=1),
    "concat of a constant": lambda emit, y, wide: relax.op.concat([wide, seeded_weight(2, 1, 4, 6, seed=4)], axis=1),
    "mask": lambda emit, y, wide: relax.op.multiply(wide, emit(relax.op.sigmoid(y))),
    "convolution": lambda emit, y, wide: relax.op.nn.conv2d(y, seeded_weight(5, 1, 3, 3, seed=5)),
}


@pytest.mark.parametrize("name", BEHIND_ONE_CHANNEL)
def test_one_channel_fills_a_vector(name):
    def build(emit, x):
        wide = emit(relax.op.nn.conv2d(x, seeded_weight(8, 6, 1, 1)))
        y = emit(relax.op.nn.conv2d(x, seeded_weight(1, 6, 1, 1, seed=1)))
        y = emit(relax.op.add(y, seeded_weight(1, 1, 1, 1, seed=2)))
        y = emit(relax.op.multiply(y, emit(relax.op.exp(y))))
        return emit(BEHIND_ONE_CHANNEL[name](emit, y, wide))

    result = _check(build, (2, 6, 4, 6))
    assert all(why.endswith("Winograd is switched off") for why in reasons(result).values())


def test_one_channel_takes_a_plain_operand_in_vectors():
    def build(emit, x, other):
        y = emit(relax.op.add(emit(relax.op.nn.conv2d(x, seeded_weight(1, 6, 1, 1))), other))
        return emit(relax.op.nn.avg_pool2d(y, [2, 2], [2, 2]))

    assert reasons(_check(build, (2, 6, 4, 6), (2, 1, 4, 6))) == {}


def test_a_packed_form_of_too_few_lanes_is_refused(monkeypatch):
    def build(emit, x):
        return emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, seeded_weight(1, 6, 1, 1)))))

    def one_lane(packed, node):
        return relax.op.strided_slice(packed.packed(node.args[0]), [4], [0], [1], assume_inbound=True)

    monkeypatch.setattr("lepton_compiler.passes.layout.pack_activations.pack_operator", one_lane)
    with pytest.raises(InternalError, match=r"takes 1 vectors of 4, but its packed form is .*\(2, 1, 4, 6, 1\)"):
        run_pass(DIRECT, build_module(build, (2, 6, 4, 6)))


@pytest.mark.parametrize("operator", ["pad", "avg_pool2d", "max_pool2d", "conv2d"])
def test_empty_tensors_leave_the_region(operator):
    def build(emit, x):
        y = emit(relax.op.nn.conv2d(x, seeded_weight(8, 4, 1, 1)))
        empty = emit(relax.op.strided_slice(y, [2], [2], [2]))
        if operator == "pad":
            return emit(relax.op.nn.pad(empty, [0, 0, 0, 0, 1, 1, 0, 0]))
        if operator == "conv2d":
            return emit(relax.op.nn.conv2d(empty, seeded_weight(8, 8, 3, 3, seed=1), padding=[1] * 4))
        return emit(getattr(relax.op.nn, operator)(empty, [2, 2], [1, 1], [1] * 4))

    result = run_pass(DIRECT, build_module(build, (1, 4, 5, 5)))
    assert all(why.endswith("a tensor has no elements") for why in reasons(result).values())
    assert reasons(result)


def test_a_softmax_over_channels_leaves_the_region():
    def build(emit, x):
        return emit(relax.op.nn.softmax(emit(relax.op.nn.conv2d(x, seeded_weight(8, 4, 1, 1))), axis=1))

    result = _check(build, (1, 4, 3, 3))
    assert "leaves the packed region: relax.nn.softmax has no packed form" in reasons(result).values()


def test_a_weight_at_run_time_is_not_packed():
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 4, 3, 3), "float32"), w: R.Tensor((4, 4, 1, 1), "float32")):
            R.func_attr({"input_names": ["x", "w"], "output_names": ["y"]})
            with R.dataflow():
                y = R.nn.conv2d(x, w)
                R.output(y)
            return y

    result = run_pass(DIRECT, Module)
    assert reasons(result) == {"y": "not packed: the weight is not a constant"}
    tvm.ir.assert_structural_equal(result.module, Module)


def test_winograd_says_why():
    def build(emit, x):
        return emit(relax.op.nn.conv2d(x, seeded_weight(32, 32, 3, 3), padding=[1] * 4))

    result = run_pass(PackActivations(), build_module(build, (1, 32, 40, 40)))
    assert result.rewrites[0].what.startswith("Winograd F(4x4, 3x3): estimated 0.")
    result = run_pass(DIRECT, build_module(build, (1, 32, 40, 40)))
    assert list(reasons(result).values()) == ["direct: Winograd is switched off"]


class Times:
    """Has the same times for every node, and remembers what it was asked."""

    def __init__(self, times: LayerTimes) -> None:
        self.times = times
        self.packed: dict[str, list[str]] = {}

    def find(self, algorithms, pack, target):
        self.packed = {name: _operators(pack(name)) for name in algorithms}
        return self

    def get(self, node):
        return self.times


def test_measured_times_choose_among_all_algorithms():
    def build(emit, x):
        return emit(relax.op.nn.conv2d(x, seeded_weight(32, 32, 3, 3), padding=[1] * 4))

    group = {"direct": MeasuredTime(1e-6, "log:1"), "F(4x4, 3x3)": MeasuredTime(2e-6, "log:2")}
    source = Times(LayerTimes((group,)))
    result = run_pass(PackActivations(measured=source), build_module(build, (1, 32, 40, 40)))
    assert list(source.packed) == ["direct", "F(2x2, 3x3)", "F(4x4, 3x3)"]
    assert list(reasons(result).values()) == ["direct: measured 1.0 us (log:1), F(4x4, 3x3) 2.0 us (log:2)"]


@pytest.mark.parametrize(("kernel", "strides", "enabled"), [(1, 1, True), (3, 2, True), (3, 1, False)])
def test_nobody_is_asked_where_there_is_no_choice(kernel, strides, enabled):
    def build(emit, x):
        return emit(relax.op.nn.conv2d(x, seeded_weight(32, 32, kernel, kernel), strides=[strides] * 2))

    source = Times(LayerTimes())
    run_pass(PackActivations(WinogradPolicy(enabled), source), build_module(build, (1, 32, 40, 40)))
    assert source.packed == {}


@pytest.mark.parametrize("channels", [8, 5, 1])
def test_packed_constants(channels):
    array = np.arange(channels * 6, dtype=np.float32).reshape(1, channels, 2, 3)
    packed = pack_channels(array, LANES, fill=7)
    assert packed.shape == (1, -(-channels // LANES), 2, 3, LANES)
    for channel in range(channels):
        np.testing.assert_array_equal(packed[0, channel // LANES, ..., channel % LANES], array[0, channel])
    filled = -channels % LANES
    assert (packed[0, -1, ..., LANES - filled :] == 7).all()
