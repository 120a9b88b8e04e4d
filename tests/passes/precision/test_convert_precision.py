from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import build_module, seeded_weight
from tvm import relax

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.errors import TargetError, UserError
from lepton_compiler.core.lone_operators import kernel_of
from lepton_compiler.passes.precision.bfloat16_tensors import CONVERSION, pair_up, to_bfloat16, to_float32
from lepton_compiler.passes.precision.convert_precision import ConvertPrecision, Precision
from lepton_compiler.targets.registry import get_target

TARGET = "amd-zen4"


def _steps(module: tvm.IRModule) -> list[str]:
    """Operators in order; conversions by name."""
    steps = []
    for binding in bindings(module):
        kernel = kernel_of(binding.value)
        if kernel is None:
            steps.append((operator_name(binding.value) or "").removeprefix("relax."))
        else:
            steps.append(str(module[kernel].attrs[CONVERSION]))
    return steps


def _run(module: tvm.IRModule, **options):
    return ConvertPrecision(**options).run(module, get_target(TARGET))


def _block(emit, x):
    """A residual block: its sum reads what the product before it reads as well."""
    first = emit(
        relax.op.nn.relu(
            emit(relax.op.nn.conv2d(x, seeded_weight(16, 8, 1, 1)), name_hint="first"),
        ),
        name_hint="act",
    )
    second = emit(relax.op.nn.conv2d(first, seeded_weight(16, 16, 1, 1)), name_hint="second")
    return emit(relax.op.add(second, first), name_hint="sum")


def test_float32_is_left_alone():
    module = build_module(_block, (1, 8, 4, 4))
    result = _run(module, precision=Precision.FP32)
    assert result.module.same_as(module)
    assert result.rewrites == () and result.declines == ()


def test_bf16_stores_shared_tensors():
    result = _run(build_module(_block, (1, 8, 4, 4)), precision=Precision.BF16)
    assert _steps(result.module) == [
        *("round", "widen", "nn.conv2d", "nn.relu", "round"),
        *("widen", "nn.conv2d"),
        *("widen", "add"),
    ]
    assert {entry.node for entry in result.rewrites} == {"first", "second"}


def test_mixed_rounds_operands_of_products_alone():
    result = _run(build_module(_block, (1, 8, 4, 4)), precision=Precision.MIXED)
    assert _steps(result.module) == [
        *("round", "widen", "nn.conv2d", "nn.relu"),
        *("round", "widen", "nn.conv2d"),
        "add",
    ]


def test_moves_work_on_stored_numbers():
    def build(emit, x):
        y = emit(relax.op.nn.relu(x))
        y = emit(relax.op.reshape(emit(relax.op.permute_dims(y, [1, 0])), (3, 8)))
        return emit(relax.op.matmul(y, seeded_weight(8, 6)))

    result = _run(build_module(build, (6, 4)), precision=Precision.MIXED)
    assert _steps(result.module) == ["nn.relu", "round", "permute_dims", "reshape", "widen", "matmul"]


def test_outputs_are_not_rounded():
    def build(emit, x):
        y = emit(relax.op.nn.relu(x), name_hint="y")
        return relax.Tuple([emit(relax.op.matmul(y, seeded_weight(8, 6))), y])

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4, 8), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            outputs = [builder.emit_output(field) for field in build(builder.emit, x).fields]
        builder.emit_func_output(relax.Tuple(outputs))
    result = _run(builder.get(), precision=Precision.BF16)
    assert _steps(result.module) == ["nn.relu", "round", "widen", "matmul"]
    y = result.module["main"].body.body.fields[1]
    assert operator_name(next(b.value for b in bindings(result.module) if b.var.same_as(y))) == "relax.nn.relu"


def _reasons(build, *shapes, **options) -> dict[str, str]:
    result = _run(build_module(build, *shapes), precision=Precision.BF16, **options)
    return {entry.node: entry.reason for entry in result.declines}


def test_what_stays_float32_and_why():
    def build(emit, x, y):
        image = emit(relax.op.nn.conv2d(x, seeded_weight(16, 3, 1, 1)), name_hint="image")
        depthwise = emit(relax.op.nn.conv2d(image, seeded_weight(16, 1, 3, 3), groups=16), name_hint="depthwise")
        wide = emit(relax.op.nn.conv2d(depthwise, seeded_weight(64, 16, 1, 1)), name_hint="wide")
        winograd = emit(relax.op.nn.conv2d(wide, seeded_weight(64, 64, 3, 3)), name_hint="winograd")
        flat = emit(relax.op.mean(winograd, [2, 3]))
        odd = emit(relax.op.matmul(y, seeded_weight(5, 64)), name_hint="odd")
        return emit(relax.op.matmul(flat, emit(relax.op.permute_dims(odd))), name_hint="variables")

    reasons = _reasons(build, (1, 3, 64, 64), (7, 5))
    assert reasons.keys() == {"image", "depthwise", "winograd", "odd", "variables"}
    assert reasons["image"] == "stays float32: 3 input channels are too few, or no pairs"
    assert reasons["depthwise"] == "stays float32: depthwise convolutions have no sums over channels"
    assert reasons["winograd"].startswith("stays float32: Winograd's algorithm in float32 is faster (Winograd F(4x4")
    assert reasons["odd"] == "stays float32: 5 elements of a sum are no pairs"
    assert reasons["variables"] == "stays float32: the right side is not a constant"


def test_products_can_be_kept():
    assert _reasons(_block, (1, 8, 4, 4), keep_fp32=("first",)) == {"first": 'stays float32: it is kept by "first"'}
    assert _reasons(_block, (1, 8, 4, 4), keep_fp32=("last",)) == {"second": 'stays float32: it is kept by "last"'}
    assert _reasons(_block, (1, 8, 4, 4), keep_fp32=("sec*",)) == {"second": 'stays float32: it is kept by "sec*"'}


def test_a_name_that_keeps_nothing_is_refused():
    with pytest.raises(UserError, match=r'--keep-fp32 "head/\*" names no product of this model; the first are first'):
        _reasons(_block, (1, 8, 4, 4), keep_fp32=("head/*",))


def test_a_target_without_the_instruction_is_refused():
    with pytest.raises(TargetError, match="x86-64-v3 has no instruction for products of bfloat16"):
        ConvertPrecision(Precision.BF16).run(build_module(_block, (1, 8, 4, 4)), get_target("x86-64-v3"))


def test_arrays():
    values = np.array([1.0, 1.00390625, 1.01171875, -np.inf, np.nan, 3.4e38], np.float32)
    back = to_float32(to_bfloat16(values))
    np.testing.assert_array_equal(back, np.array([1.0, 1.0, 1.015625, -np.inf, np.nan, np.inf], np.float32))
    pairs = pair_up(np.array([[1.0], [2.0], [-1.0], [0.5]], np.float32), axis=0)
    np.testing.assert_array_equal(pairs, np.array([[0x40003F80], [0x3F00BF80]], np.uint32))
