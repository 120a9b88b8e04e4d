from __future__ import annotations

import numpy as np
from tvm import relax, tirx

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.targets.registry import get_target


def _module(build, *shapes):
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            output = builder.emit_output(build(builder, *inputs), "last")
        builder.emit_func_output(output)
    return builder.get()


def _weight(*shape):
    return relax.const(np.ones(shape, np.float32))


def _run(module, target="x86-64-v3"):
    return LegalizeOperators().run(module.clone(), get_target(target))


def test_a_constant_convolution_weight_is_packed_for_the_target():
    module = _module(lambda bb, x: bb.emit(relax.op.nn.conv2d(x, _weight(20, 4, 3, 3)), "/conv"), (1, 4, 8, 8))
    for target, lanes in (("x86-64-v3", 8), ("arm-cortex-a72", 4), ("x86-64-v4", 16)):
        result = _run(module, target)
        call = next(b.value for b in bindings(result.module) if b.var.name == "/conv")
        weight = call.args[1].fields[1]
        assert [int(size) for size in weight.ty.shape] == [-(-20 // lanes), 4, 3, 3, lanes]
        assert [(r.node, r.what) for r in result.rewrites] == [("/conv", "packed the weight for vectors of outputs")]


def test_reasons_for_weights_that_are_not_packed():
    run_time = _module(lambda bb, x, w: bb.emit(relax.op.nn.conv2d(x, w), "/conv"), (1, 4, 8, 8), (8, 4, 3, 3))
    (decline,) = _run(run_time).declines
    assert (decline.node, decline.reason) == ("/conv", "weight not packed: the weight is not a constant")

    def narrow_groups(bb, x):
        return bb.emit(relax.op.nn.conv2d(x, _weight(6, 2, 3, 3), groups=2), "/conv")

    (decline,) = _run(_module(narrow_groups, (1, 4, 8, 8))).declines
    assert decline.reason == "weight not packed: 3 output channels in a group do not fill a vector"

    product = _module(lambda bb, x, y: bb.emit(relax.op.matmul(x, y), "/mm"), (3, 4), (4, 5))
    (decline,) = _run(product).declines
    assert (decline.node, decline.reason) == ("/mm", "weight not packed: the right side is not a constant")


def test_reshapes_stay_and_everything_else_becomes_a_kernel():
    def build(bb, x):
        y = bb.emit(relax.op.nn.relu(x), "/relu")
        z = bb.emit(relax.op.reshape(y, (2, 12)), "/reshape")
        return bb.emit(relax.op.matmul(z, _weight(12, 5)), "/fc")

    result = _run(_module(build, (2, 3, 4)))
    named = {b.var.name: operator_name(b.value) for b in bindings(result.module)}
    assert named["/relu"] == "relax.call_tir"
    assert named["/reshape"] == "relax.reshape"
    assert named["/fc"] == "relax.call_tir"


def test_kernels_say_how_they_fuse():
    module = _module(lambda bb, x: bb.emit(relax.op.nn.conv2d(x, _weight(8, 4, 1, 1)), "/conv"), (1, 4, 8, 8))
    functions = [f for f in _run(module).module.functions.values() if isinstance(f, tirx.PrimFunc)]
    assert [int(f.attrs["op_pattern"]) for f in functions] == [4]
