from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm
from handmade_programs import EMBED_ALL, Body, imported_module, scheduled_program, symbol, tensor, unfused_program
from tvm import relax, tirx
from tvm.script import tirx as T

from lepton_compiler.build.artifact import build_artifact
from lepton_compiler.build.in_place_results import NO_ALIAS, allow_overwriting, overwrite_verdicts
from lepton_compiler.build.lower_kernels import collect_kernels
from lepton_compiler.runtime.model import load

OTHER_ELEMENTS = "other elements of it are read than the one that is written"
OTHER_STAGE = "another stage of the kernel reads it, too"
TWICE = "an element of the result is written more than once"
READ_AGAIN = "the result is read again inside of the kernel"
OTHER_WAYS = "its memory is used in other ways than by loads and stores of single elements"
ADDRESSES = "it says where the result is written"


def reasons(body: Body, *shapes: tuple[int | tirx.Expr, ...]) -> list[tuple[int, str | None]]:
    """Operands and verdicts of the one kernel of a program, scheduled for this machine."""
    inputs = [tensor(f"x{index}", shape) for index, shape in enumerate(shapes)]
    kernels = collect_kernels(unfused_program(imported_module(inputs, body)).module).functions
    (function,) = kernels.values()
    return [(verdict.operand, verdict.reason) for verdict in overwrite_verdicts(function)]


@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 7, 33), (1, 64, 56, 56), (2, 300, 1), (129, 257)])
def test_elementwise_kernels_may_overwrite_their_operands(shape: tuple[int, ...]) -> None:
    assert reasons(lambda bb, x: bb.emit(relax.op.nn.relu(x), "n"), shape) == [(0, None)]
    assert reasons(lambda bb, x, y: bb.emit(relax.op.add(x, y), "n"), shape, shape) == [(0, None), (1, None)]


def test_symbolic_sizes_are_proven_too() -> None:
    n = symbol("n")
    assert reasons(lambda bb, x: bb.emit(relax.op.nn.relu(x), "n"), (n, 3, 40)) == [(0, None)]


def test_an_operand_that_is_broadcast_is_kept() -> None:
    verdicts = reasons(lambda bb, x, y: bb.emit(relax.op.add(x, y), "n"), (4, 8, 16), (8, 1))
    assert verdicts == [(0, None), (1, OTHER_ELEMENTS)]


@pytest.mark.parametrize(
    "move",
    [
        lambda x: relax.op.permute_dims(x, [1, 0]),
        lambda x: relax.op.flip(x, axis=0),
        lambda x: relax.op.roll(x, 1, axis=0) if hasattr(relax.op, "roll") else relax.op.flip(x, axis=1),
    ],
)
def test_moves_of_elements_are_refused(move: Body) -> None:
    assert reasons(lambda bb, x: bb.emit(move(x), "n"), (64, 64)) == [(0, OTHER_ELEMENTS)]


def test_rows_that_are_read_before_they_are_written_are_refused() -> None:
    assert reasons(lambda bb, x: bb.emit(relax.op.nn.softmax(x), "n"), (32, 64))[0] == (0, OTHER_STAGE)


def test_sums_are_refused() -> None:
    verdicts = reasons(lambda bb, x: bb.emit(relax.op.sum(x, axis=1, keepdims=True), "n"), (64, 64))
    assert [operand for operand, _ in verdicts] == [0]
    assert verdicts[0][1] in (OTHER_STAGE, TWICE, READ_AGAIN)


@T.prim_func(s_tir=True)
def written_by_hand(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    for i in range(8):
        y[i] = x[7 - i]


@T.prim_func(s_tir=True)
def looped_twice(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    for _, i in T.grid(2, 8):
        with T.sblock("twice"):
            v = T.axis.spatial(8, i)
            y[v] = x[v] + T.float32(1)


@T.prim_func(s_tir=True)
def scattered(x: T.Buffer((8,), "int32"), y: T.Buffer((8,), "int32")):
    for i in range(8):
        with T.sblock("scatter"):
            v = T.axis.spatial(8, i)
            y[x[v]] = v


@T.prim_func(s_tir=True)
def read_again(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32"), z: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.sblock("first"):
            v = T.axis.spatial(8, i)
            y[v] = x[v]
    for i in range(8):
        with T.sblock("second"):
            v = T.axis.spatial(8, i)
            z[v] = y[7 - v]


@T.prim_func(s_tir=True)
def addressed(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.sblock("copy"):
            v = T.axis.spatial(8, i)
            y[v] = x[v]
    with T.sblock("opaque"):
        T.evaluate(T.call_extern("int32", "touch", x.access_ptr("r")))


@T.prim_func(s_tir=True)
def looped_inside(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    with T.sblock("scan"):
        for i in range(8):
            y[i] = x[i]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (looped_twice, [(0, 1, TWICE)]),
        (scattered, [(0, 1, ADDRESSES)]),
        (read_again, [(0, 1, READ_AGAIN), (0, 2, OTHER_STAGE)]),
        (addressed, [(0, 1, OTHER_WAYS)]),
        (looped_inside, [(0, 1, TWICE)]),
    ],
)
def test_what_a_hand_written_kernel_does_is_seen(function: tirx.PrimFunc, expected: list) -> None:
    assert [(v.operand, v.result, v.reason) for v in overwrite_verdicts(function)] == expected


def test_nothing_is_said_of_a_body_without_blocks() -> None:
    body = tirx.Evaluate(tirx.IntImm("int32", 0))
    assert overwrite_verdicts(tirx.PrimFunc([], body)) == ()


def test_llvm_is_told() -> None:
    assert not bool(allow_overwriting(written_by_hand).attrs[NO_ALIAS])


def _residual_network(shape: tuple[int, ...]) -> tvm.IRModule:
    """Two convolutions with a skip, a dense part with a skip, and chains of elementwise operators."""
    random = np.random.default_rng(len(shape))
    channels = shape[1]

    def weight(*size: int) -> relax.Constant:
        return relax.const(random.normal(size=size).astype(np.float32) / np.sqrt(np.prod(size[1:])).astype(np.float32))

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        start = bb.emit(relax.op.nn.conv2d(x, weight(channels, channels, 1, 1)), "start")
        first = bb.emit(relax.op.nn.relu(start), "first")
        inner = bb.emit(relax.op.nn.conv2d(first, weight(channels, channels, 3, 3), padding=1), "inner")
        total = bb.emit(relax.op.nn.relu(bb.emit(relax.op.add(inner, start), "skip")), "total")
        rows = bb.emit(relax.op.permute_dims(total, [0, 2, 3, 1]), "rows")
        dense = bb.emit(relax.op.matmul(rows, weight(channels, channels)), "dense")
        again = bb.emit(relax.op.add(dense, rows), "again")
        soft = bb.emit(relax.op.nn.softmax(again), "soft")
        return bb.emit(relax.op.exp(bb.emit(relax.op.multiply(soft, again), "scaled")), "last")

    return imported_module([tensor("x", shape)], body)


@pytest.mark.parametrize("shape", [(1, 16, 14, 14), (2, 32, 9, 13), (1, 24, 56, 56), (3, 5, 11, 6), (1, 64, 1, 1)])
@pytest.mark.parametrize("fused", [True, False])
def test_results_are_the_same_bits_with_and_without(tmp_path: Path, shape: tuple[int, ...], fused: bool) -> None:
    data = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    outputs, arenas, notes = [], [], []
    for in_place in (True, False):
        program = scheduled_program(_residual_network(shape)) if fused else unfused_program(_residual_network(shape))
        path = tmp_path / f"{in_place}.so"
        manifest = build_artifact(program, path, EMBED_ALL, in_place=in_place)
        for threads in (1, 2):
            with load(path, threads=threads) as model:
                outputs.append([model(data)["y"] for _ in range(3)][-1])
        arenas.append(manifest.memory.lower_bound_bytes)
        notes.append([kernel.in_place for kernel in manifest.kernels if kernel.in_place.startswith("over ")])
    for output in outputs[1:]:
        np.testing.assert_array_equal(output, outputs[0])
    assert arenas[0] <= arenas[1]
    assert not notes[1]
    # Channels that fill no vector leave the packed region through a stage that reads the convolution's result again.
    assert notes[0] or (fused and shape[1] == 5)
