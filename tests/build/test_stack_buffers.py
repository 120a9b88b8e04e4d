# pyright: reportInvalidTypeForm=none
# Buffers in the signatures of TVMScript functions are calls, not types.

from pathlib import Path

import pytest
import tvm
from tvm.script import tirx as T

from lepton_compiler.build.lower_kernels import collect_kernels, compile_kernels
from lepton_compiler.targets.cpu.schedule import ANCHOR_ATTRIBUTE
from lepton_compiler.targets.registry import get_target


def _sums(extent: int, scope: str):
    """Sums along rows in a buffer of ``extent`` elements, which a prefetch in the loop over them could read."""

    @T.prim_func(private=True, s_tir=True)
    def sums(x: T.Buffer((8, 64, extent), "float32"), y: T.Buffer((8, extent), "float32")):
        with T.sblock("root"):
            held = T.sblock_alloc_buffer((8, extent), "float32", scope=scope)
            for i in T.parallel(8):
                for j in T.vectorized(extent):
                    with T.sblock("init"):
                        vi, vj = T.axis.remap("SS", [i, j])
                        held[vi, vj] = T.float32(0)
                for k in range(64):
                    for j in T.vectorized(extent):
                        with T.sblock("update"):
                            vi, vk, vj = T.axis.remap("SRS", [i, k, j])
                            held[vi, vj] = held[vi, vj] + x[vi, vk, vj]
                for j in T.vectorized(extent):
                    with T.sblock("store"):
                        vi, vj = T.axis.remap("SS", [i, j])
                        y[vi, vj] = held[vi, vj]

    return sums


@pytest.mark.parametrize(
    ("anchor", "extent", "scope", "on_stack"),
    [
        ("dense", 320, "local", True),
        ("dense", 4096, "local", False),
        ("dense", 320, "global", False),
        ("packed_convolution", 320, "local", False),
    ],
)
def test_small_sums_of_products_stay_on_the_stack(
    anchor: str, extent: int, scope: str, on_stack: bool, tmp_path: Path
) -> None:
    function = _sums(extent, scope).with_attr(ANCHOR_ATTRIBUTE, anchor)
    kernels = collect_kernels(tvm.IRModule({"sums": function}))
    scratch = compile_kernels(kernels, get_target("x86-64-v2"), tmp_path / "kernels.o")
    assert (scratch == 0) == on_stack
