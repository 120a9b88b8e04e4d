from __future__ import annotations

import numpy as np
import tvm
from kernel_checks import compile_operator, random
from tvm import relax, te, tirx, topi

from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.registry import native_target


def test_a_scan_keeps_its_loops():
    data = te.placeholder((6, 9), "float32", name="data")
    function = te.create_prim_func([data, topi.cumsum(data, axis=1)])
    scheduled = schedule_function(function, native_target())
    assert scheduled.anchor == "generic"
    assert str(scheduled.func.attrs["lepton.schedule"]) == scheduled.schedule == "generic: as written"
    library = tvm.tirx.build(tvm.IRModule({"main": scheduled.func.with_attr("global_symbol", "main")}), "llvm")
    output = tvm.runtime.empty((6, 9), "float32")
    library["main"](tvm.runtime.tensor(random(6, 9)), output)
    np.testing.assert_allclose(output.numpy(), random(6, 9).cumsum(axis=1), rtol=1e-5, atol=1e-6)


def test_a_function_without_blocks_is_left_alone():
    body = tirx.Evaluate(tirx.IntImm("int32", 0))
    scheduled = schedule_function(tirx.PrimFunc([], body), native_target())
    assert scheduled.schedule == "opaque: as written"


def test_the_input_is_not_changed():
    data = te.placeholder((8, 40), "float32", name="data")
    function = te.create_prim_func([data, topi.nn.softmax(data)])
    text = function.script()
    schedule_function(function, native_target())
    assert function.script() == text


def test_integers_and_doubles():
    for dtype in ("int8", "int32", "int64", "float64"):
        compiled = compile_operator(lambda emit, x, y: relax.op.multiply(x, y), (5, 37), (5, 37), dtype=dtype)
        a = np.arange(185).reshape(5, 37).astype(dtype)
        np.testing.assert_array_equal(compiled(a, a), a * a)
