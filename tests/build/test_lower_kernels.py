# pyright: reportInvalidTypeForm=none
# Buffers in the signatures of TVMScript functions are calls, not types.

from pathlib import Path

import pytest
import tvm
from tvm import tirx
from tvm.script import tirx as T

from lepton_compiler.build import lower_kernels
from lepton_compiler.build.lower_kernels import Kernels, collect_kernels, compile_kernels
from lepton_compiler.core.errors import InternalError
from lepton_compiler.runtime.elf_sections import read_elf
from lepton_compiler.targets.registry import get_target

TARGET = get_target("x86-64-v2")
ROW_BYTES = 4096 * 4
BLOCK_OVERHEAD = 64


@T.prim_func(private=True, s_tir=True)
def two_rows(x: T.Buffer((64, 4096), "float32"), y: T.Buffer((64, 4096), "float32")):
    """Each thread needs two rows of scratch at once."""
    with T.sblock("root"):
        first = T.sblock_alloc_buffer((64, 4096), "float32")
        second = T.sblock_alloc_buffer((64, 4096), "float32")
        for i in T.parallel(64):
            for j in range(4096):
                with T.sblock("first"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    first[vi, vj] = x[vi, vj] + T.float32(1)
            for j in range(4096):
                with T.sblock("second"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    second[vi, vj] = first[vi, 4095 - vj] * T.float32(2)
            for j in range(4096):
                with T.sblock("store"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    y[vi, vj] = second[vi, 4095 - vj] + first[vi, vj]


@T.prim_func(private=True, s_tir=True)
def plain(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.sblock("copy"):
            vi = T.axis.spatial(8, i)
            y[vi] = x[vi]


def kernels(**functions: tirx.PrimFunc) -> Kernels:
    return collect_kernels(tvm.IRModule(functions))


def test_scratch_of_a_thread_is_the_sum_of_what_its_kernel_holds_at_once(tmp_path: Path) -> None:
    scratch = compile_kernels(kernels(two_rows=two_rows, plain=plain), TARGET, tmp_path / "kernels.o")
    assert 2 * ROW_BYTES <= scratch <= 2 * (ROW_BYTES + BLOCK_OVERHEAD)


def test_small_kernels_need_no_scratch(tmp_path: Path) -> None:
    assert compile_kernels(kernels(plain=plain), TARGET, tmp_path / "kernels.o") == 0


def test_model_without_kernels_still_makes_an_object(tmp_path: Path) -> None:
    assert compile_kernels(kernels(), TARGET, tmp_path / "kernels.o") == 0
    with (tmp_path / "kernels.o").open("rb") as file:
        assert read_elf(file).machine == 62


def test_kernels_come_in_the_order_of_their_names() -> None:
    assert list(kernels(b=plain, c=two_rows, a=plain).functions) == ["a", "b", "c"]


def test_functions_that_are_no_kernels_are_left_out() -> None:
    module = tvm.IRModule({"plain": plain, "main": tvm.relax.Function([], tvm.relax.Tuple([]), is_pure=True)})
    assert list(collect_kernels(module).functions) == ["plain"]


def test_failing_code_generator_is_an_internal_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
        raise ValueError("no such instruction")

    monkeypatch.setattr(lower_kernels, "_lower", fail)
    with pytest.raises(InternalError, match="code generation for x86-64-v2 failed: no such instruction"):
        compile_kernels(kernels(plain=plain), TARGET, tmp_path / "kernels.o")
    assert list(tmp_path.iterdir()) == []
