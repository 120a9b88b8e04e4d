from __future__ import annotations

import numpy as np
import pytest
import tvm
from kernel_checks import lower
from tvm import relax, tirx

from lepton_compiler.targets.cpu.named_sizes import name_sizes
from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.registry import get_target

N, H, W = (tirx.Var(name, "int64") for name in "nhw")
ROWS, COLUMNS = tirx.floordiv(H + 1, 4) - 1, W + 1


def kernel(build, *shape) -> tirx.PrimFunc:
    """The one kernel of ``build(x)``; the last input only says what the symbols are."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(name, relax.TensorType(sizes, "float32")) for name, sizes in (("x", shape), ("y", (N, H, W)))]
    with builder.function("main", inputs):
        with builder.dataflow():
            output = builder.emit_output(build(inputs[0]))
        builder.emit_func_output(output)
    module = lower(builder.get(), get_target("x86-64-v3"))
    (function,) = [function for function in module.functions.values() if isinstance(function, tirx.PrimFunc)]
    return function


def buffers(function: tirx.PrimFunc) -> list[list[str]]:
    return [[str(size) for size in parameter.shape] for parameter in function.params if tirx.is_buffer_var(parameter)]


def test_computed_sizes_get_names() -> None:
    named = name_sizes(kernel(lambda x: relax.op.permute_dims(x, [0, 1, 4, 2, 3]), N, 2, ROWS, COLUMNS, 16))
    number = [str(tirx.IntImm("int64", value)) for value in (2, 16)]
    assert buffers(named) == [
        ["n", number[0], "size0", "size1", number[1]],
        ["n", number[0], number[1], "size0", "size1"],
    ]
    assert "//" not in named.script().split("with T.sblock", 2)[1]


def test_sizes_that_depend_on_one_another_are_kept() -> None:
    function = kernel(lambda x: relax.op.nn.max_pool2d(x, [2, 2], [2, 2]), N, 2, H, COLUMNS)
    named = name_sizes(function)
    assert buffers(named)[0][2] == "h"
    assert buffers(named)[1][2] == buffers(function)[1][2]


def test_known_sizes_and_symbols_stay_as_they_are() -> None:
    function = kernel(lambda x: relax.op.exp(x), N, 2, H, 16)
    tvm.ir.assert_structural_equal(name_sizes(function), function)


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v4"])
def test_a_transpose_of_computed_sizes_is_scheduled(name: str) -> None:
    """Fusing loops over these sizes is what TVM's arithmetic fails on."""
    function = kernel(lambda x: relax.op.permute_dims(x, [0, 1, 4, 2, 3]), N, 2, ROWS, COLUMNS, 16)
    scheduled = schedule_function(function, get_target(name))
    assert scheduled.refused is None
    assert scheduled.anchor == "elementwise"
    assert np.isin(["size0", "size1"], [str(size) for size in scheduled.func.params[0].shape]).all()
