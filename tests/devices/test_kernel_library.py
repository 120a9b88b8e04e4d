"""Scheduled PrimFuncs as libraries: built for every target, and right on this machine's agent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from elf_symbols import dynamic_symbols
from tvm import te, tirx
from tvm.script import tirx as T

from lepton_compiler.core.errors import InternalError
from lepton_compiler.devices.agent_program import agent_program
from lepton_compiler.devices.arrays import ArrayType, HostArray, SeededArray
from lepton_compiler.devices.kernel_library import build_kernel_library, parameter_types
from lepton_compiler.devices.local_device import LocalDevice
from lepton_compiler.devices.trial import Argument, Input, Output, Scalar, Timing, Trial
from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.registry import TARGETS, native_target

TOLERANCE = 1e-6
"""Of the range; sums of up to 100 products in float32."""


def matmul(rows: object = 24) -> tirx.PrimFunc:
    a = te.placeholder((rows, 100), "float32", name="a")
    b = te.placeholder((100, 36), "float32", name="b")
    k = te.reduce_axis((0, 100), name="k")
    return te.create_prim_func([a, b, te.compute((rows, 36), lambda i, j: te.sum(a[i, k] * b[k, j], k), name="c")])


def softmax() -> tirx.PrimFunc:
    x = te.placeholder((9, 50), "float32", name="x")
    k = te.reduce_axis((0, 50), name="k")
    e = te.compute((9, 50), lambda i, j: te.exp(x[i, j]), name="e")
    total = te.compute((9,), lambda i: te.sum(e[i, k], k), name="total")
    return te.create_prim_func([x, te.compute((9, 50), lambda i, j: e[i, j] / total[i], name="y")])


@T.prim_func(private=True, s_tir=True)
def shared_buffer(x: T.Buffer((64, 32), "float32"), y: T.Buffer((64, 32), "float32")):
    """Two loop nests that share a buffer, which the agent then allocates."""
    with T.sblock("root"):
        between = T.sblock_alloc_buffer((64, 32), "float32")
        for i in T.parallel(64):
            for j in range(32):
                with T.sblock("first"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    between[vi, vj] = x[vi, vj] + T.float32(1)
        for i in T.parallel(64):
            for j in range(32):
                with T.sblock("second"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    y[vi, vj] = between[63 - vi, vj] * T.float32(2)


@T.prim_func(private=True, s_tir=True)
def shifted(x: T.Buffer((50,), "int64"), by: T.int64, divisor: T.Buffer((1,), "int64"), y: T.Buffer((50,), "int64")):
    for i in range(50):
        with T.sblock("shift"):
            vi = T.axis.spatial(50, i)
            y[vi] = T.truncdiv(x[vi] + by, divisor[0])


def scheduled(function: tirx.PrimFunc) -> tirx.PrimFunc:
    return schedule_function(function, native_target()).func


def run_here(device: LocalDevice, function: tirx.PrimFunc, *arguments: Argument, threads: int = 1, **sizes: int):
    library = build_kernel_library(function, native_target(), sizes)
    return device.run(Trial(library, arguments, TOLERANCE, Timing(3, 0.1), threads))


def floats(*shape: int, seed: int = 1) -> SeededArray:
    return SeededArray(ArrayType("float32", shape), seed)


def output(values: np.ndarray) -> Output:
    reference = HostArray(values)
    return Output(reference.type, reference)


THREADS = pytest.mark.parametrize("threads", [1, 2])


def available(device: LocalDevice, threads: int) -> int:
    return min(threads, device.describe().cores)


@THREADS
def test_a_scheduled_matmul(device: LocalDevice, threads: int) -> None:
    a, b = floats(24, 100), floats(100, 36, seed=2)
    product = (a.values().astype(np.float64) @ b.values()).astype(np.float32)
    function = scheduled(matmul())
    result = run_here(device, function, Input(a), Input(b), output(product), threads=available(device, threads))
    assert result.is_right, result.message
    wrong = product.copy()
    wrong[5, 5] += 1e-3
    assert not run_here(device, function, Input(a), Input(b), output(wrong)).is_right


@THREADS
def test_functions_of_the_c_library_are_the_agents(device: LocalDevice, threads: int) -> None:
    x = floats(9, 50)
    e = np.exp(x.values().astype(np.float64))
    expected = (e / e.sum(axis=1, keepdims=True)).astype(np.float32)
    for function in (softmax(), scheduled(softmax())):
        result = run_here(device, function, Input(x), output(expected), threads=available(device, threads))
        assert result.is_right, result.message


def test_shared_buffers_become_workspaces_of_the_agent(device: LocalDevice) -> None:
    library = build_kernel_library(shared_buffer, native_target())
    assert library.parameters == (ArrayType("float32", (64, 32)),) * 2
    assert library.workspaces == (ArrayType("float32", (64, 32)),)
    x = floats(64, 32)
    result = run_here(device, shared_buffer, Input(x), output((x.values()[::-1] + np.float32(1)) * np.float32(2)))
    assert result.is_right, result.message


def test_integers_are_passed_by_value(device: LocalDevice) -> None:
    x = SeededArray(ArrayType("int64", (50,)), 1, -1000, 1000)
    divisor = HostArray(np.array([7], np.int64))
    expected = np.trunc((x.values() - 13) / 7).astype(np.int64)
    result = run_here(device, shifted, Input(x), Scalar(-13), Input(divisor), output(expected))
    assert result.is_right, result.message


def test_symbolic_sizes_are_given_by_name(device: LocalDevice) -> None:
    function = scheduled(matmul(tirx.Var("rows", "int64")))
    a, b = floats(17, 100), floats(100, 36, seed=2)
    product = (a.values().astype(np.float64) @ b.values()).astype(np.float32)
    result = run_here(device, function, Input(a), Input(b), output(product), rows=17)
    assert result.is_right, result.message
    with pytest.raises(InternalError, match="was given no sizes for rows"):
        parameter_types(function)


FROM_THE_C_LIBRARY = {"expf", "floorf", "memset", "memcpy"}


@pytest.mark.parametrize("name", TARGETS)
def test_libraries_of_every_target_take_only_what_its_agent_gives(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    program = agent_program(target)
    exported, _ = dynamic_symbols(program)
    assert program.stat().st_size < 300_000
    for function in (schedule_function(softmax(), target).func, schedule_function(matmul(), target).func, shifted):
        library = tmp_path / "kernel.so"
        library.write_bytes(build_kernel_library(function, target).code)
        given, taken = dynamic_symbols(library)
        assert "__tvm_ffi_lepton_kernel" in given
        assert taken <= exported | FROM_THE_C_LIBRARY, taken - exported
        assert library.stat().st_size < 64_000


def test_the_same_kernel_gives_the_same_bytes() -> None:
    assert len({build_kernel_library(scheduled(matmul()), native_target()).key for _ in range(3)}) == 1
