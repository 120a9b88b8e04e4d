from __future__ import annotations

import operator

import numpy as np
import pytest
from kernel_checks import assert_close, compile_operator, random, schedules_for
from reference_convolution import convolve
from tvm import relax, tirx
from tvm.ir import Var
from tvm.s_tir import SBlockRealize

from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy

DIRECT = PackActivations(WinogradPolicy(enabled=False))


def _convolution(weight: np.ndarray, **attributes: object):
    return lambda emit, data: relax.op.nn.conv2d(data, relax.const(weight), **attributes)


def _conditional_prefetches(weight: np.ndarray, shape: tuple[int | str, ...], **attributes: object) -> int:
    """Prefetches that stand under the condition of the first group."""
    kernels = schedules_for("amd-zen5", _convolution(weight, **attributes), shape, arrange=DIRECT)
    lines = [line for kernel in kernels for line in kernel.func.script().splitlines()]
    return sum("< T.int64(1)" in line and line.strip().startswith("if ") for line in lines)


def test_a_batch_fetches_the_pixels_of_the_next_tile():
    weight = random(128, 256, 1, 1)
    assert _conditional_prefetches(weight, (4, 256, 14, 14)) > 0
    assert _conditional_prefetches(weight, ("n", 256, 14, 14)) > 0


@pytest.mark.parametrize(
    ("weight", "shape"),
    [((128, 256, 1, 1), (1, 256, 14, 14)), ((128, 240, 1, 1), (4, 240, 14, 14))],
    ids=["one image", "few chunks of channels"],
)
def test_what_hardware_or_caches_do_is_left_to_them(weight, shape):
    assert _conditional_prefetches(random(*weight), shape) == 0


def _fetched_lines(func: tirx.PrimFunc, image: int) -> set[int]:
    """Lines of the first chunk of channels of one image that the kernel asks for, by running its loops."""
    lines: set[int] = set()
    holds: dict[tirx.Stmt, bool] = {}

    def run(stmt: tirx.Stmt, values: dict[Var, int]) -> None:
        if stmt not in holds:
            holds[stmt] = "llvm.prefetch" in str(stmt)
        if not holds[stmt]:
            return
        if isinstance(stmt, tirx.For):
            for value in range(int(stmt.extent)):
                run(stmt.body, {**values, stmt.loop_var: value + int(stmt.min)})
        elif isinstance(stmt, tirx.SeqStmt):
            for part in stmt.seq:
                run(part, values)
        elif isinstance(stmt, tirx.IfThenElse):
            if _evaluate(stmt.condition, values):
                run(stmt.then_case, values)
        elif isinstance(stmt, SBlockRealize):
            run(stmt.block.body, values)
        elif isinstance(stmt, tirx.Evaluate):
            load = stmt.value.args[1].args[0]
            n, chunk, *place = (_evaluate(index, values) for index in load.indices)
            if (n, chunk) == (image, 0):
                lines.add(int(np.ravel_multi_index(place, [int(size) for size in load.source.shape[2:]])) * 4 // 64)

    run(func.body, {})
    return lines


_OPERATORS = {
    tirx.Add: operator.add,
    tirx.Sub: operator.sub,
    tirx.Mul: operator.mul,
    tirx.FloorDiv: operator.floordiv,
    tirx.FloorMod: operator.mod,
    tirx.LT: operator.lt,
    tirx.Min: min,
}


def _evaluate(expression: tirx.Expr, values: dict[Var, int]) -> int:
    if isinstance(expression, Var):
        return values[expression]
    if isinstance(expression, tirx.IntImm):
        return int(expression)
    return _OPERATORS[type(expression)](_evaluate(expression.a, values), _evaluate(expression.b, values))


@pytest.mark.parametrize(
    ("shape", "stride"), [((2, 256, 26, 26), 1), ((2, 256, 14, 14), 1), ((2, 256, 13, 13), 2)], ids=str
)
def test_prefetches_cover_all_pixels_but_those_of_the_first_tile(shape, stride):
    weight = random(32, 256, 3, 3)
    build = _convolution(weight, strides=[stride] * 2, padding=[1] * 4)
    kernel = next(
        k for k in schedules_for("amd-zen5", build, shape, arrange=DIRECT) if k.anchor == "packed_convolution"
    )
    plane = (shape[2] + 2) * (shape[3] + 2)
    fetched = _fetched_lines(kernel.func, image=1)
    missed = set(range(plane)) - fetched
    assert missed == set(range(min(fetched)))
    assert len(missed) <= plane // 4


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("kernel", "stride", "size"), [(1, 1, 7), (1, 2, 9), (3, 1, 7), (3, 2, 15)])
def test_results_stay(kernel, stride, size, groups):
    data, weight = random(3, 256 * groups, size, size), random(64, 256, kernel, kernel, seed=1)
    attributes = {"strides": [stride] * 2, "padding": [kernel // 2] * 4, "dilation": [1, 1], "groups": groups}
    compiled = compile_operator(_convolution(weight, **attributes), data.shape, arrange=DIRECT)
    assert_close(compiled(data), convolve(data, weight, **attributes))
