from __future__ import annotations

import numpy as np
from tvm import relax, tirx
from tvm.s_tir import Schedule

from lepton_compiler.core.contracts import check_contract
from lepton_compiler.core.program import Stage
from lepton_compiler.passes.lowering.legalize_operators import LegalizeOperators
from lepton_compiler.passes.lowering.schedule_functions import ScheduleFunctions
from lepton_compiler.targets.cpu import schedule
from lepton_compiler.targets.cpu.block_analysis import root_blocks
from lepton_compiler.targets.registry import get_target
from lepton_compiler.targets.spec import TargetSpec


def _lowered():
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType((1, 3, 8, 8), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            weight = relax.const(np.ones((8, 3, 3, 3), np.float32))
            conv = builder.emit(relax.op.nn.conv2d(data, weight), "/conv")
            output = builder.emit_output(relax.op.nn.softmax(conv), "/softmax")
        builder.emit_func_output(output)
    return LegalizeOperators().run(builder.get(), get_target("x86-64-v3")).module


def test_every_kernel_is_scheduled_and_says_how():
    before = _lowered()
    result = ScheduleFunctions().run(before.clone(), get_target("x86-64-v3"))
    check_contract(result.module, Stage.SCHEDULED)
    functions = [f for f in result.module.functions.values() if isinstance(f, tirx.PrimFunc)]
    assert {str(f.attrs["lepton.anchor"]) for f in functions} == {"convolution", "row_reduction"}
    assert sorted(rewrite.node for rewrite in result.rewrites) == ["conv2d", "softmax"]
    assert all(rewrite.what.startswith("scheduled as ") for rewrite in result.rewrites)


def test_equal_kernels_get_equal_schedules():
    target = get_target("arm-cortex-a72")
    first = ScheduleFunctions().run(_lowered(), target)
    second = ScheduleFunctions().run(_lowered(), target)
    assert first.rewrites == second.rewrites


def _inline_a_reduction(sch: Schedule, spec: TargetSpec, knobs: object = None) -> tuple[Schedule, str]:
    """A schedule that TVM refuses."""
    sch.compute_inline(next(info.block for info in root_blocks(sch) if info.is_reduction))
    return sch, "never reached"


def test_a_refused_schedule_is_declined_and_replaced(monkeypatch):
    monkeypatch.setitem(schedule._SCHEDULERS, "convolution", _inline_a_reduction)
    result = ScheduleFunctions().run(_lowered(), get_target("x86-64-v3"))
    check_contract(result.module, Stage.SCHEDULED)
    (decline,) = result.declines
    assert decline.node == "conv2d"
    assert decline.reason == "no convolution schedule: ScheduleError: The block has init statement"
    (what,) = [rewrite.what for rewrite in result.rewrites if rewrite.node == "conv2d"]
    assert what.startswith("scheduled as generic: ")
    assert what.endswith(f" ({decline.reason})")


def test_nothing_is_declined_where_every_schedule_fits():
    assert ScheduleFunctions().run(_lowered(), get_target("x86-64-v3")).declines == ()
