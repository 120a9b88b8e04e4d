from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.script import tirx as T

from lepton_compiler.targets.cpu.loop_tail import peel_tail, split_tails


def _exponential(size) -> Schedule:
    data = te.placeholder((size,), "float32", name="data")
    return Schedule(te.create_prim_func([data, te.compute((size,), lambda i: data[i] * 2.0, name="twice")]))


def _run(function: tirx.PrimFunc, size: int) -> np.ndarray:
    library = tvm.tirx.build(tvm.IRModule({"main": function}), "llvm")
    data = np.arange(size, dtype=np.float32)
    output = tvm.runtime.empty((size,), "float32")
    library["main"](tvm.runtime.tensor(data), output)
    return output.numpy() / 2


def _peeled(size, factors) -> tirx.PrimFunc:
    sch = _exponential(size)
    *outer, lane = sch.split(sch.get_loops(sch.get_sblock("twice"))[0], factors)
    sch.vectorize(lane)
    peel_tail(sch, outer[-1])
    if len(outer) > 1:
        sch.parallel(outer[0])
    return split_tails(sch.mod["main"])


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1003])
def test_static_tail_becomes_a_narrower_vector(size):
    function = _peeled(tirx.IntImm("int64", size), [None, 8])
    text = function.script()
    assert "T.where" not in text
    assert "lepton.peel" not in text
    np.testing.assert_array_equal(_run(function, size), np.arange(size))


@pytest.mark.parametrize("size", [1, 5, 100, 1003])
def test_tail_below_a_parallel_loop(size):
    function = _peeled(tirx.IntImm("int64", size), [4, None, 8])
    # The one partial tile is looked for among the pieces, and its width is known.
    assert "T.where" not in function.script()
    np.testing.assert_array_equal(_run(function, size), np.arange(size))


@pytest.mark.parametrize("size", [1, 8, 1003])
def test_symbolic_extent(size):
    function = _peeled(tirx.Var("n", "int64"), [None, 8])
    whole, _, rest = function.script().partition("_rest")
    assert "T.where" not in whole
    assert "T.where" in rest
    np.testing.assert_array_equal(_run(function, size), np.arange(size))


def test_several_tiles_may_be_partial_where_they_overlap():
    """Each tile has 8 elements and begins 4 behind the one before, so that two of them lie across the end."""

    @T.prim_func(s_tir=True)
    def overlapping(data: T.Buffer((21,), "float32"), twice: T.Buffer((21,), "float32")):
        for piece in T.parallel(2):
            for tile in T.serial(3, annotations={"lepton.peel": True}):
                for lane in range(8):
                    with T.sblock("twice"):
                        i = T.axis.spatial(21, (piece * 3 + tile) * 4 + lane)
                        T.where((piece * 3 + tile) * 4 + lane < 21)
                        twice[i] = data[i] * T.float32(2)

    function = split_tails(overlapping)
    assert "T.where" in function.script()
    np.testing.assert_array_equal(_run(function, 21), np.arange(21))


def test_an_even_loop_stays_one():
    function = _peeled(tirx.IntImm("int64", 64), [None, 8])
    assert function.script().count('T.sblock("twice")') == 1


def test_a_tail_alone_leaves_no_loop_without_iterations():
    """TVM can't vectorize the body of such a loop where it names a value and, as that of one element, no lane."""
    sch = _exponential(tirx.IntImm("int64", 5))
    tile, lane = sch.split(sch.get_loops(sch.get_sblock("twice"))[0], [None, 8])
    sch.vectorize(lane)
    peel_tail(sch, tile)
    function = split_tails(sch.mod["main"])
    assert function.script().count('T.sblock("twice")') == 1
    assert "range(T.int64(0))" not in function.script()
    np.testing.assert_array_equal(_run(function, 5), np.arange(5))


def test_local_buffers_are_not_shared_with_the_tail():
    sch = _exponential(tirx.IntImm("int64", 21))
    block = sch.get_sblock("twice")
    tile, lane = sch.split(sch.get_loops(block)[0], [None, 8])
    cache = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(cache, tile, preserve_unit_loops=True)
    del lane
    peel_tail(sch, tile)
    function = split_tails(sch.mod["main"])
    names = [buffer.name for buffer in function.body.block.alloc_buffers]
    assert len(names) == 2
    np.testing.assert_array_equal(_run(function, 21), np.arange(21))
