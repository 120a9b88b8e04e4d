"""Each family of converters over a grid of attributes, against ONNX Runtime. One model a family keeps this fast."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import CONTRIB, Case, Const, check_cases

RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.2, 2.0, shape).astype(np.float32)


def ints(*values: int) -> Const:
    return Const(np.array(values, np.int64))


def test_convolution(tmp_path: Path) -> None:
    weight, depthwise = Const(normal(6, 4, 3, 3)), Const(normal(4, 1, 3, 3))
    image = normal(2, 4, 9, 11)
    cases = [
        Case("Conv", [image, weight], {"pads": pads, "strides": strides, "dilations": dilations})
        for pads, strides, dilations in itertools.product(
            ([0, 0, 0, 0], [1, 2, 0, 1]), ([1, 1], [2, 1]), ([1, 1], [2, 2])
        )
    ]
    cases += [
        Case("Conv", [image, weight], {"auto_pad": mode, "strides": [2, 2]}) for mode in ("SAME_UPPER", "SAME_LOWER")
    ]
    cases += [
        Case("Conv", [image, depthwise, Const(normal(4))], {"group": 4, "pads": [1, 1, 1, 1]}),
        Case("Conv", [image, Const(normal(6, 2, 3, 3))], {"group": 2}),
        Case("Conv", [normal(1, 3, 12), Const(normal(5, 3, 4)), Const(normal(5))], {"pads": [1, 2], "strides": [2]}),
        Case("Conv", [normal(1, 4, 12), Const(normal(4, 2, 3))], {"group": 2}),
        Case("Conv", [normal(1, 2, 5, 6, 7), Const(normal(3, 2, 2, 2, 2)), Const(normal(3))], {"strides": [1, 2, 1]}),
        Case("Conv", [normal(1, 4, 4, 4, 4), Const(normal(4, 2, 2, 2, 2))], {"group": 2}),
        Case("Conv", [image, normal(6, 4, 3, 3), normal(6)]),
        Case(
            "FusedConv",
            [image, weight, Const(normal(6)), normal(2, 6, 7, 9)],
            {"activation": "Relu"},
            domain=CONTRIB,
        ),
        Case(
            "FusedConv",
            [image, weight],
            {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
            domain=CONTRIB,
        ),
    ]
    check_cases(cases, tmp_path, atol=1e-4)


def test_transposed_convolution(tmp_path: Path) -> None:
    image, weight = normal(1, 4, 5, 6), Const(normal(4, 3, 3, 3))
    grid: list[dict[str, object]] = [
        {},
        {"strides": [2, 2]},
        {"strides": [2, 3], "pads": [1, 0, 1, 2]},
        {"strides": [2, 2], "output_padding": [1, 1]},
        {"strides": [3, 2], "output_padding": [2, 1], "pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [2, 2], "output_shape": [10, 13]},
        {"dilations": [2, 2]},
    ]
    cases = [Case("ConvTranspose", [image, weight], attributes) for attributes in grid]
    cases += [
        Case("ConvTranspose", [image, Const(normal(4, 2, 2, 2)), Const(normal(4))], {"group": 2, "strides": [2, 2]}),
        Case(
            "ConvTranspose",
            [normal(1, 3, 8), Const(normal(3, 2, 4)), Const(normal(2))],
            {"strides": [3], "pads": [1, 2]},
        ),
        Case("ConvTranspose", [normal(1, 2, 3, 4, 3), Const(normal(2, 3, 2, 2, 2))], {"strides": [2, 1, 2]}),
    ]
    check_cases(cases, tmp_path, atol=1e-4)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pooling(op: str, tmp_path: Path) -> None:
    image = normal(1, 3, 10, 13)
    grid: list[dict[str, object]] = [
        dict[str, object](strides=strides, pads=pads, ceil_mode=ceil_mode)
        for strides, pads, ceil_mode in itertools.product(([1, 1], [2, 3]), ([0, 0, 0, 0], [1, 0, 1, 1]), (0, 1))
    ]
    grid += [{"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}]
    if op == "AveragePool":
        grid += [{**attributes, "count_include_pad": 1} for attributes in grid]
    else:
        grid.append({"dilations": [2, 1], "strides": [2, 1]})
    cases = [Case(op, [image], {"kernel_shape": [3, 2], **attributes}) for attributes in grid]
    cases += [Case(op, [normal(2, 3, 15)], {"kernel_shape": [4], "strides": [3], "ceil_mode": c}) for c in (0, 1)]
    cases += [Case(op, [normal(1, 2, 5, 6, 5)], {"kernel_shape": [2, 3, 2], "strides": [2, 1, 2]})]
    check_cases(cases, tmp_path)


LARGE_WINDOWS = [
    # Size, kernel, stride, padding, dilation: less than a stride is missing, which rounds to one element.
    (1, 2, 2, (0, 0), 1),
    (1, 2, 3, (0, 0), 1),
    (1, 3, 3, (0, 0), 1),
    (2, 4, 3, (1, 0), 1),
    (2, 2, 4, (0, 0), 2),
    (1, 5, 4, (1, 1), 1),
]


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_pools_whose_window_is_larger_than_the_input(op: str, tmp_path: Path) -> None:
    cases = []
    for (size, kernel, stride, pads, dilation), ceil_mode in itertools.product(LARGE_WINDOWS, (0, 1)):
        attributes = {"kernel_shape": [kernel, 2], "strides": [stride, 1], "pads": [pads[0], 0, pads[1], 0]}
        cases.append(
            Case(op, [normal(1, 3, size, 4)], {**attributes, "dilations": [dilation, 1], "ceil_mode": ceil_mode})
        )
    if op == "AveragePool":
        cases += [replace(case, attributes={**case.attributes, "count_include_pad": 1}) for case in cases]
    cases.append(Case(op, [normal(1, 3, 1, 4)], {"kernel_shape": [2, 2], "strides": [3, 1], "auto_pad": "VALID"}))
    check_cases(cases, tmp_path, opset=20, atol=1e-6)


def test_max_pool_indices(tmp_path: Path) -> None:
    image = normal(2, 3, 7, 6)
    cases = [
        Case("MaxPool", [image], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}, outputs=2),
        Case("MaxPool", [image], {"kernel_shape": [2, 2], "storage_order": 1}, outputs=2),
        Case("MaxPool", [normal(1, 2, 1, 4)], {"kernel_shape": [2, 2], "strides": [3, 1]}, outputs=2),
    ]
    check_cases(cases, tmp_path)


def test_other_pools(tmp_path: Path) -> None:
    image = normal(2, 3, 7, 6)
    cases = [
        Case("GlobalAveragePool", [image]),
        Case("GlobalMaxPool", [image]),
        Case("GlobalLpPool", [image], {"p": 3}),
        Case("LpPool", [image], {"kernel_shape": [3, 2], "p": 2, "pads": [1, 0, 1, 0]}),
    ]
    check_cases(cases, tmp_path, atol=1e-4)


def test_normalization(tmp_path: Path) -> None:
    image = normal(2, 6, 5, 4)
    channel = [Const(normal(6)), Const(normal(6)), Const(normal(6)), Const(positive(6))]
    cases = [
        Case("BatchNormalization", [image, *channel], {"epsilon": 1e-3}),
        Case("BatchNormalization", [image, *channel], {"training_mode": 1, "momentum": 0.7}, outputs=3),
        Case("LayerNormalization", [image, Const(normal(4)), Const(normal(4))]),
        Case("LayerNormalization", [image, Const(normal(5, 4))], {"axis": 2, "epsilon": 1e-3}, outputs=3),
        Case("InstanceNormalization", [image, Const(normal(6)), Const(normal(6))]),
        Case("LpNormalization", [image], {"axis": 1, "p": 1}),
        Case("LpNormalization", [image], {"p": 2}),
        Case("LRN", [image], {"size": 3, "alpha": 0.1, "beta": 0.6, "bias": 1.5}),
        Case("MeanVarianceNormalization", [image]),
        Case(
            "SkipLayerNormalization",
            [normal(2, 3, 8), normal(2, 3, 8), Const(normal(8)), Const(normal(8)), Const(normal(8))],
            domain=CONTRIB,
        ),
    ]
    check_cases(cases, tmp_path, atol=1e-4)


def test_activations(tmp_path: Path) -> None:
    x = np.linspace(-6, 6, 61, dtype=np.float32).reshape(1, 61)
    named = ["Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Erf", "Elu", "Selu", "Celu", "LeakyRelu"]
    cases = [Case(op, [x]) for op in named]
    cases += [
        Case("LeakyRelu", [x], {"alpha": 0.3}),
        Case("Elu", [x], {"alpha": 1.7}),
        Case("Selu", [x], {"alpha": 1.5, "gamma": 0.9}),
        Case("Celu", [x], {"alpha": 2.5}),
        Case("HardSigmoid", [x], {"alpha": 0.3, "beta": 0.4}),
        Case("ThresholdedRelu", [x], {"alpha": 2.0}),
        Case("Shrink", [x], {"lambd": 1.5, "bias": 0.5}),
        Case("PRelu", [normal(2, 3, 4), Const(normal(3, 1))]),
        Case("PRelu", [normal(2, 3, 4), Const(normal(1))]),
        Case("Clip", [x, Const(np.float32(-1)), Const(np.float32(2))]),
        Case("Clip", [x, None, np.array(1.5, np.float32)]),
        Case("Clip", [x, Const(np.float32(0))]),
        Case("Clip", [np.arange(-5, 5, dtype=np.int32), Const(np.array(-2, np.int32)), Const(np.array(3, np.int32))]),
        Case("Gelu", [x], domain=CONTRIB),
        Case("BiasGelu", [x, Const(normal(61))], domain=CONTRIB),
        Case("FastGelu", [x, Const(normal(61))], domain=CONTRIB),
        Case("QuickGelu", [x], {"alpha": 1.2}, domain=CONTRIB),
    ]
    check_cases(cases, tmp_path)


def test_gelu_mish_and_swish_of_the_standard_domain(tmp_path: Path) -> None:
    x = np.linspace(-30, 30, 61, dtype=np.float32)
    cases = [Case("Gelu", [x]), Case("Gelu", [x], {"approximate": "tanh"}), Case("Mish", [x])]
    check_cases(cases, tmp_path, opset=20)


def test_arithmetic(tmp_path: Path) -> None:
    a, b = normal(2, 1, 5), positive(3, 1)
    i, j = RNG.integers(-9, 9, (4, 5), dtype=np.int32), np.array([[-3], [2], [5], [-7]], np.int32)
    cases = [Case(op, [a, b]) for op in ("Add", "Sub", "Mul", "Div", "Greater", "LessOrEqual", "Equal")]
    cases += [Case(op, [i, j]) for op in ("Add", "Div", "Mod", "Less", "GreaterOrEqual")]
    cases += [Case("Mod", [i, j], {"fmod": 1}), Case("Mod", [a, b], {"fmod": 1})]
    cases += [Case("Pow", [positive(2, 3), Const(np.float32(p))]) for p in (0.5, 1.0, 2.0, 3.0, -1.3)]
    cases += [Case("Pow", [i, Const(np.array(2, np.int32))]), Case("Pow", [positive(3), normal(3)])]
    cases += [Case(op, [a, b, normal(5)]) for op in ("Sum", "Mean", "Max", "Min")]
    cases += [Case("Where", [i > 0, normal(4, 5), normal(5)])]
    cases += [Case("And", [i > 0, j > 0]), Case("Xor", [i > 0, j > 0]), Case("Not", [i > 0])]
    cases += [Case(op, [a]) for op in ("Abs", "Neg", "Exp", "Floor", "Ceil", "Round", "Sign", "Reciprocal", "Sin")]
    cases += [Case(op, [positive(7)]) for op in ("Log", "Sqrt")]
    special = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    cases += [Case("IsNaN", [special]), Case("IsInf", [special]), Case("IsInf", [special], {"detect_negative": 0})]
    for kind in ("uint8", "uint32"):
        bits = np.array([0, 1, 7], kind)
        cases += [Case("BitShift", [np.array([1, 200, 77], kind), bits], {"direction": d}) for d in ("LEFT", "RIGHT")]
    check_cases(cases, tmp_path)


def test_cast(tmp_path: Path) -> None:
    from onnx import TensorProto as T

    x = np.array([-3.7, -0.5, 0.0, 0.5, 2.9, 100.0], np.float32)
    cases = [Case("Cast", [x], {"to": to}) for to in (T.INT32, T.INT64, T.INT8, T.FLOAT16, T.DOUBLE, T.BOOL)]
    cases += [Case("Cast", [np.array([0, 3, -4], np.int64)], {"to": to}) for to in (T.FLOAT, T.INT32, T.BOOL)]
    cases += [Case("Cast", [np.array([True, False])], {"to": to}) for to in (T.FLOAT, T.INT64)]
    check_cases(cases, tmp_path)


def test_matrix_products(tmp_path: Path) -> None:
    a, b = normal(4, 5), normal(5, 3)
    cases = [
        Case("MatMul", [normal(2, 1, 4, 5), Const(normal(3, 5, 6))]),
        Case("MatMul", [normal(5), Const(normal(5, 6))]),
        Case("MatMul", [a, Const(normal(5))]),
        Case("Gemm", [a, Const(b.copy()), Const(normal(3))], {"alpha": 0.5, "beta": 2.0}),
        Case("Gemm", [normal(5, 4), normal(3, 5), normal(4, 1)], {"transA": 1, "transB": 1, "beta": 0.5}),
        Case("Gemm", [a, Const(normal(3, 5))], {"transB": 1}),
        Case(
            "FusedMatMul", [normal(2, 5, 4), normal(2, 3, 5)], {"transA": 1, "transB": 1, "alpha": 0.3}, domain=CONTRIB
        ),
        Case("FusedGemm", [a, Const(b.copy()), Const(normal(3))], {"activation": "Relu"}, domain=CONTRIB),
        Case("Einsum", [normal(2, 3, 4), normal(2, 4, 5)], {"equation": "bij, bjk -> bik"}),
    ]
    check_cases(cases, tmp_path)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions(keepdims: int, tmp_path: Path) -> None:
    x = positive(2, 3, 4)
    ops = ["Max", "Min", "Mean", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"]
    cases = [Case(f"Reduce{op}", [x], {"axes": [1, -1], "keepdims": keepdims}) for op in ops]
    cases += [
        Case("ReduceSum", [x, ints(0, 2)], {"keepdims": keepdims}),
        Case("ReduceMean", [x], {"keepdims": keepdims}),
    ]
    cases += [Case("ReduceSum", [x], {"noop_with_empty_axes": 1, "keepdims": keepdims})]
    tied = np.array([[1, 3, 3], [2, 0, 0]], np.float32)
    cases += [
        Case(op, [tied], {"axis": axis, "keepdims": keepdims, "select_last_index": last})
        for op, axis, last in itertools.product(("ArgMax", "ArgMin"), (0, 1), (0, 1))
    ]
    check_cases(cases, tmp_path)


def test_softmax(tmp_path: Path) -> None:
    x = normal(2, 3, 4)
    cases = [Case(op, [x], {"axis": axis}) for op in ("Softmax", "LogSoftmax", "Hardmax") for axis in (0, 1, -1)]
    check_cases(cases, tmp_path)


def test_softmax_before_version_13(tmp_path: Path) -> None:
    x = normal(2, 3, 4)
    cases = [Case(op, [x], {"axis": axis}) for op in ("Softmax", "LogSoftmax", "Hardmax") for axis in (0, 1, 2)]
    check_cases(cases, tmp_path, opset=11)


def test_reshaping(tmp_path: Path) -> None:
    x = normal(2, 3, 4, 6)
    cases = [
        Case("Reshape", [x, ints(0, -1, 8)]),
        Case("Flatten", [x], {"axis": 2}),
        Case("Flatten", [x], {"axis": 0}),
        Case("Squeeze", [normal(1, 3, 1), ints(0)]),
        Case("Squeeze", [normal(1, 3, 1)]),
        Case("Unsqueeze", [x, ints(0, -1)]),
        Case("Transpose", [x], {"perm": [0, 2, 3, 1]}),
        Case("Transpose", [x]),
        Case("Expand", [normal(3, 1), ints(2, 1, 4)]),
        Case("Tile", [normal(2, 3), ints(2, 3)]),
        Case("DepthToSpace", [normal(1, 8, 2, 3)], {"blocksize": 2}),
        Case("DepthToSpace", [normal(1, 8, 2, 3)], {"blocksize": 2, "mode": "CRD"}),
        Case("SpaceToDepth", [normal(1, 2, 4, 6)], {"blocksize": 2}),
        Case("Trilu", [normal(2, 4, 5)], {"upper": 0}),
        Case("Trilu", [normal(4, 5), Const(np.array(2, np.int64))]),
        Case("EyeLike", [normal(3, 5)], {"k": 1}),
    ]
    check_cases(cases, tmp_path)


def test_parts_of_tensors(tmp_path: Path) -> None:
    x = normal(4, 6, 5)
    cases = [
        Case("Slice", [x, ints(1), ints(3)]),
        Case("Slice", [x, ints(-1, 0), ints(-9, 2**31 - 1), ints(0, 2), ints(-1, 2)]),
        Case("Slice", [x, ints(4, 1), ints(0, -1), ints(1, 0), ints(-2, 1)]),
        Case("Split", [x, ints(1, 3, 2)], {"axis": 1}, outputs=3),
        Case("Split", [x], {"axis": 0}, outputs=2),
        Case("Concat", [normal(2, 3), normal(2, 1), Const(normal(2, 2))], {"axis": 1}),
        Case("Pad", [x, ints(0, 1, 2, 1, 0, 1), Const(np.float32(0.5))]),
        Case("Pad", [x, ints(0, -1, 2, 1, -1, 0)]),
        Case("Pad", [x, ints(1, 0, 2, 2, 0, 1)], {"mode": "reflect"}),
        Case("Pad", [x, ints(0, 1, 2, 1, 3, 1)], {"mode": "edge"}),
    ]
    check_cases(cases, tmp_path)


def test_indexing(tmp_path: Path) -> None:
    x = normal(4, 5, 3)
    cases = [
        Case("Gather", [x, Const(np.array([[0, -1], [2, 1]], np.int64))], {"axis": 1}),
        Case("Gather", [x, np.array([3, -4, 0], np.int32)]),
        Case("Gather", [x, Const(np.array(1, np.int64))], {"axis": 2}),
        Case("Gather", [np.arange(5, dtype=np.int64), np.array([[4], [-5]], np.int64)]),
        Case("GatherElements", [x, RNG.integers(-5, 5, (4, 2, 3))], {"axis": 1}),
        Case("GatherND", [x, np.array([[0, 1], [-1, 4]], np.int64)]),
        Case("GatherND", [x, np.array([[1], [0], [-1], [2]], np.int64)], {"batch_dims": 1}),
        Case("ScatterElements", [x, RNG.permuted(np.tile(np.arange(5), (4, 1)), axis=1)[:, :2, None].repeat(3, 2),
                                 normal(4, 2, 3)], {"axis": 1}),
        Case("ScatterND", [x, Const(np.array([[0], [-1]], np.int64)), normal(2, 5, 3)]),
        Case("ScatterND", [x, np.array([[0, 1], [3, -2]], np.int64), normal(2, 3)], {"reduction": "add"}),
        Case("OneHot", [np.array([1, -1, 7], np.int64), ints(4), np.array([0.5, 2.0], np.float32)], {"axis": 0}),
        Case("TopK", [x, ints(2)], {"axis": 1}, outputs=2),
        Case("TopK", [x, ints(3)], {"largest": 0}, outputs=2),
        Case("CumSum", [x, Const(np.array(1, np.int64))], {"reverse": 1}),
        Case("CumSum", [x, Const(np.array(0, np.int64))], {"exclusive": 1}),
        Case("ReverseSequence", [normal(5, 3, 2), np.array([2, 5, 1], np.int64)]),
    ]  # fmt: skip
    check_cases(cases, tmp_path)


def test_resize(tmp_path: Path) -> None:
    x = normal(1, 2, 7, 9)
    scales = [[1, 1, 2, 2], [1, 1, 0.6, 1.7], [1, 1, 0.5, 3.3]]
    coordinates = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    cases = [
        Case("Resize", [x, None, Const(np.array(scale, np.float32))],
             {"mode": mode, "coordinate_transformation_mode": coordinate})
        for scale, coordinate, mode in itertools.product(scales, coordinates, ("linear", "cubic"))
    ]  # fmt: skip
    cases += [
        Case("Resize", [x, None, Const(np.array(scale, np.float32))],
             {"mode": "nearest", "coordinate_transformation_mode": coordinate, "nearest_mode": rounding})
        for scale, coordinate, rounding in itertools.product(
            scales, coordinates[:3], ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"))
    ]  # fmt: skip
    cases += [
        Case("Resize", [x, None, None, ints(1, 2, 14, 5)], {"mode": "linear"}),
        Case("Resize", [normal(1, 2, 6), None, Const(np.array([1, 1, 2.5], np.float32))], {"mode": "linear"}),
    ]
    check_cases(cases, tmp_path, atol=1e-4)


def _recurrent_case(op: str, gates: int, attributes: dict[str, object], **parts: bool) -> Case:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    time, batch, features, hidden = 6, 3, 5, 7
    inputs: list[object] = [
        normal(time, batch, features),
        Const(normal(directions, gates * hidden, features) * np.float32(0.5)),
        Const(normal(directions, gates * hidden, hidden) * np.float32(0.5)),
        Const(normal(directions, 2 * gates * hidden)) if parts.get("bias") else None,
        np.array([6, 2, 4], np.int32) if parts.get("lengths") else None,
        normal(directions, batch, hidden) if parts.get("state") else None,
    ]
    if op == "LSTM":
        inputs.append(normal(directions, batch, hidden) if parts.get("state") else None)
        inputs.append(Const(normal(directions, 3 * hidden)) if parts.get("peepholes") else None)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return Case(op, inputs, {"hidden_size": hidden, **attributes}, outputs=3 if op == "LSTM" else 2)


def test_lstm(tmp_path: Path) -> None:
    cases = [
        _recurrent_case("LSTM", 4, {}),
        _recurrent_case("LSTM", 4, {"direction": "reverse"}, bias=True),
        _recurrent_case("LSTM", 4, {"direction": "bidirectional"}, bias=True, state=True, lengths=True),
        _recurrent_case("LSTM", 4, {"input_forget": 1, "clip": 0.8}, bias=True, peepholes=True, state=True),
        _recurrent_case("LSTM", 4, {"activations": ["HardSigmoid", "Softsign", "Relu"], "activation_alpha": [0.3],
                                    "activation_beta": [0.4]}, bias=True),
    ]  # fmt: skip
    check_cases(cases, tmp_path)


def test_gru_and_rnn(tmp_path: Path) -> None:
    cases = [
        _recurrent_case("GRU", 3, {}, bias=True),
        _recurrent_case("GRU", 3, {"linear_before_reset": 1}, bias=True, state=True, lengths=True),
        _recurrent_case("GRU", 3, {"direction": "bidirectional", "linear_before_reset": 1}, state=True),
        _recurrent_case("GRU", 3, {"direction": "reverse"}, bias=True, lengths=True),
        _recurrent_case("RNN", 1, {}, bias=True, state=True),
        _recurrent_case("RNN", 1, {"direction": "bidirectional", "activations": ["Relu", "Tanh"]}, bias=True),
    ]
    check_cases(cases, tmp_path)
