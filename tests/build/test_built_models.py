"""Whole artifacts of hand-made modules: built, loaded, run, and compared with NumPy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from handmade_programs import EMBED_ALL, Body, build, imported_module, symbol, tensor, unfused_program
from tvm import relax

import lepton_compiler
from lepton_compiler.build.artifact import build_artifact
from lepton_compiler.core.errors import InputError

RTOL = 1e-5
"""float32 sums of at most a few hundred terms, in another order than NumPy's."""

RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(6, 5)).astype(np.float32)
KERNEL = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
N, M = symbol("n"), symbol("m")

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Case:
    """A module, inputs for one or more runs, and what NumPy makes of them."""

    inputs: Sequence[relax.Var]
    body: Body
    runs: Sequence[Arrays]
    expected: Callable[..., Sequence[np.ndarray]]


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def matmul_relu(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    return bb.emit(relax.op.nn.relu(bb.emit(relax.op.matmul(x, relax.const(WEIGHT)), "mm")), "relu")


def every_kind_of_output(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    hidden = bb.emit(relax.op.exp(x), "hidden")
    flat = bb.emit(relax.op.reshape(hidden, (8,)), "flat")
    last = bb.emit(relax.op.nn.relu(hidden), "last")
    return relax.Tuple([x, hidden, hidden, flat, last, relax.const(WEIGHT), bb.emit(relax.op.reshape(x, (4, 2)), "v")])


def of_every_kind(x: np.ndarray) -> Sequence[np.ndarray]:
    hidden = np.exp(x)
    return x, hidden, hidden, hidden.reshape(8), np.maximum(hidden, 0), WEIGHT, x.reshape(4, 2)


def split_and_join(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    parts = bb.emit(relax.op.split(x, 3, axis=1), "parts")
    items = [bb.emit(relax.TupleGetItem(parts, index), f"part{index}") for index in (2, 0, 1)]
    return relax.Tuple([bb.emit(relax.op.concat(items, axis=1), "joined"), items[1]])


def to_scalar(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    total = bb.emit(relax.op.sum(x), "total")
    return relax.Tuple([bb.emit(relax.op.multiply(total, relax.const(2.0)), "doubled"), total])


def compare_and_choose(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
    greater = bb.emit(relax.op.greater(x, y), "greater")
    turned = bb.emit(relax.op.logical_not(greater), "turned")
    return relax.Tuple([greater, turned, bb.emit(relax.op.where(turned, y, x), "chosen")])


def integers(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
    wide = bb.emit(relax.op.astype(x, "int64"), "wide")
    return relax.Tuple([bb.emit(relax.op.add(wide, y), "sum"), bb.emit(relax.op.astype(wide, "uint8"), "narrow")])


def half_types(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    brain = bb.emit(relax.op.astype(x, "bfloat16"), "brain")
    return relax.Tuple([bb.emit(relax.op.astype(x, "float16"), "half"), brain])


def nothing_to_compute(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    return relax.Tuple([x, x])


def empty_tensors(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
    return relax.Tuple([bb.emit(relax.op.exp(x), "nothing"), bb.emit(relax.op.concat([x, y], axis=0), "something")])


def chain_of_eight(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    """Sums over rows keep the kernels apart, so that the arena holds several tensors at once."""
    value, first = x, None
    for step in range(8):
        mean = bb.emit(relax.op.mean(value, axis=1, keepdims=True), f"mean{step}")
        value = bb.emit(relax.op.subtract(value, mean), f"centre{step}")
        value = bb.emit(relax.op.matmul(value, relax.const(WEIGHT @ WEIGHT.T / 8)), f"mix{step}")
        first = value if first is None else first
    return bb.emit(relax.op.add(value, first), "sum")


def chain_of_eight_in_numpy(x: np.ndarray) -> Sequence[np.ndarray]:
    value, first = x, None
    for _ in range(8):
        value = (value - value.mean(axis=1, keepdims=True)) @ (WEIGHT @ WEIGHT.T / 8)
        first = value if first is None else first
    return (value + first,)


def padded_convolution(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    return bb.emit(relax.op.nn.conv2d(x, relax.const(KERNEL), padding=[1, 1]), "conv")


def padded_convolution_in_numpy(x: np.ndarray) -> Sequence[np.ndarray]:
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(2, 3))
    return (np.einsum("nchwyx,ocyx->nohw", patches, KERNEL),)


def computed_shapes(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
    """Kernels for ``n + m`` rows take ``n`` and ``m`` as scalars beside their tensors."""
    both = bb.emit(relax.op.concat([x, y], axis=0), "both")
    masked = bb.emit(relax.op.multiply(both, bb.emit(relax.op.ones((N + M, 3), "float32"), "ones")), "masked")
    mean = bb.emit(relax.op.mean(masked, axis=0), "mean")
    flat = bb.emit(relax.op.reshape(masked, ((N + M) * 3,)), "flat")
    return relax.Tuple([bb.emit(relax.op.exp(flat), "exp"), bb.emit(relax.op.subtract(both, mean), "centred")])


def computed_shapes_in_numpy(x: np.ndarray, y: np.ndarray) -> Sequence[np.ndarray]:
    both = np.concatenate([x, y])
    return np.exp(both.reshape(-1)), both - both.mean(axis=0)


def symbolic_outputs(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    counted = bb.emit(relax.op.arange(0, N * 2, 1, "int64"), "counted")
    rows = bb.emit(relax.op.reshape(x, (N * 2, 2)), "rows")
    return relax.Tuple([counted, rows, bb.emit(relax.op.sum(rows, axis=0), "sums")])


CASES = {
    "static": Case([tensor("x", (3, 6))], matmul_relu, [[normal(3, 6)]], lambda x: [np.maximum(x @ WEIGHT, 0)]),
    "symbolic": Case(
        [tensor("x", (N, 6))],
        matmul_relu,
        [[normal(rows, 6)] for rows in (1, 3, 17, 300, 2)],
        lambda x: [np.maximum(x @ WEIGHT, 0)],
    ),
    "every kind of output": Case([tensor("x", (2, 4))], every_kind_of_output, [[normal(2, 4)]], of_every_kind),
    "results of one kernel": Case(
        [tensor("x", (4, 6))],
        split_and_join,
        [[normal(4, 6)]],
        lambda x: [np.concatenate([x[:, 4:], x[:, :4]], axis=1), x[:, :2]],
    ),
    "rank 0": Case([tensor("x", (5, 7))], to_scalar, [[normal(5, 7)]], lambda x: [x.sum() * 2, x.sum()]),
    "scalar input": Case(
        [tensor("x", ())],
        lambda bb, x: bb.emit(relax.op.exp(x), "exp"),
        [[np.array(0.5, np.float32)]],
        lambda x: [np.exp(x)],
    ),
    "bool": Case(
        [tensor("x", (3, 7)), tensor("y", (3, 7))],
        compare_and_choose,
        [[normal(3, 7), normal(3, 7)]],
        lambda x, y: [x > y, ~(x > y), np.maximum(x, y)],
    ),
    "integers": Case(
        [tensor("x", (9,), "int8"), tensor("y", (9,), "int64")],
        integers,
        [[np.arange(9, dtype=np.int8), np.full(9, 2**40, np.int64)]],
        lambda x, y: [x + y, x.astype(np.uint8)],
    ),
    "half precision": Case(
        [tensor("x", (33,))],
        half_types,
        [[normal(33)]],
        lambda x: [x.astype(np.float16), x.astype(ml_dtypes.bfloat16)],
    ),
    "no kernel": Case([tensor("x", (2, 4))], nothing_to_compute, [[normal(2, 4)]], lambda x: [x, x]),
    "empty tensors": Case(
        [tensor("x", (0, 3)), tensor("y", (2, 3))],
        empty_tensors,
        [[normal(0, 3), normal(2, 3)]],
        lambda x, y: [x, y],
    ),
    "shared arena": Case([tensor("x", (8, 6))], chain_of_eight, [[normal(8, 6)]], chain_of_eight_in_numpy),
    "shared slots": Case(
        [tensor("x", (N, 6))],
        chain_of_eight,
        [[normal(rows, 6)] for rows in (1, 70, 3)],
        chain_of_eight_in_numpy,
    ),
    "padding in the arena": Case(
        [tensor("x", (1, 3, 9, 9))], padded_convolution, [[normal(1, 3, 9, 9)]], padded_convolution_in_numpy
    ),
    "symbolic padding": Case(
        [tensor("x", (N, 3, M, 8))],
        padded_convolution,
        [[normal(rows, 3, height, 8)] for rows, height in ((1, 8), (2, 5), (1, 33), (3, 1))],
        padded_convolution_in_numpy,
    ),
    "computed shapes": Case(
        [tensor("x", (N, 3)), tensor("y", (M, 3))],
        computed_shapes,
        [[normal(n, 3), normal(m, 3)] for n, m in ((1, 1), (5, 2), (40, 70))],
        computed_shapes_in_numpy,
    ),
    "symbolic outputs": Case(
        [tensor("x", (N, 4))],
        symbolic_outputs,
        [[normal(rows, 4)] for rows in (1, 6)],
        lambda x: [np.arange(2 * len(x)), x.reshape(-1, 2), x.reshape(-1, 2).sum(axis=0)],
    ),
}


def built(case: Case, folder: Path, outputs: int) -> Path:
    path = folder / "model.so"
    build(imported_module(case.inputs, case.body, [f"y{index}" for index in range(outputs)]), path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_numpys(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    expected = [case.expected(*arrays) for arrays in case.runs]
    with lepton_compiler.load(built(case, tmp_path, len(expected[0])), threads=2) as model:
        # Twice: the arena of a second run holds what the first one left.
        for arrays, wanted in [*zip(case.runs, expected, strict=True)] * 2:
            for result, reference in zip(model(*arrays).values(), wanted, strict=True):
                reference = np.asarray(reference)
                assert result.shape == reference.shape
                assert result.dtype == reference.dtype
                scale = np.abs(reference.astype(np.float64)).max(initial=0)
                np.testing.assert_allclose(
                    result.astype(np.float64), reference.astype(np.float64), rtol=RTOL, atol=RTOL * scale
                )


def test_memory_in_the_manifest_is_what_the_session_takes(tmp_path: Path) -> None:
    case = CASES["shared arena"]
    with lepton_compiler.load(built(case, tmp_path, 1)) as model:
        model(*case.runs[0])
        memory = model.manifest.memory
        assert model.memory.arena_bytes == memory.arena_bytes
        assert memory.typical_symbol_value is None
        assert memory.lower_bound_bytes <= memory.arena_bytes <= 2 * memory.lower_bound_bytes


def test_inputs_too_small_for_an_intermediate_tensor_are_an_error(tmp_path: Path) -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        fewer = bb.emit(relax.op.ones((N - 4, 4), "float32"), "fewer")
        return bb.emit(relax.op.sum(bb.emit(relax.op.nn.softmax(fewer), "softmax")), "sum")

    path = built(Case([tensor("x", (N,))], body, (), tuple), tmp_path, 1)
    with lepton_compiler.load(path) as model:
        np.testing.assert_allclose(model(normal(6))["y0"], 2, rtol=RTOL)
        with pytest.raises(InputError, match="too small for this model"):
            model(normal(3))


def test_sizes_beyond_the_address_space_are_an_error(tmp_path: Path) -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        huge = bb.emit(relax.op.ones((N, N, N, N), "float32"), "huge")
        return bb.emit(relax.op.sum(bb.emit(relax.op.nn.softmax(huge), "softmax")), "sum")

    path = built(Case([tensor("x", (N,))], body, (), tuple), tmp_path, 1)
    with lepton_compiler.load(path) as model, pytest.raises(InputError, match=r"more than 2\^63 bytes"):
        model(np.ones(1 << 16, np.float32))


def test_sizes_that_the_model_takes_for_equal_are_compared(tmp_path: Path) -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        cast = bb.match_cast(bb.emit(relax.op.exp(y), "exp"), relax.TensorType((N, 3), "float32"))
        return bb.emit(relax.op.add(x, cast), "sum")

    path = tmp_path / "model.so"
    module = imported_module([tensor("x", (N, 3)), tensor("y", (M, 3))], body, ["y0"])
    build_artifact(unfused_program(module), path, EMBED_ALL)
    x, y = normal(5, 3), normal(5, 3)
    with lepton_compiler.load(path) as model:
        np.testing.assert_allclose(model(x, y)["y0"], x + np.exp(y), rtol=RTOL)
        with pytest.raises(InputError, match=r"dimension 0 .*4.*5|dimension 0 .*5.*4"):
            model(x, y[:4])
        np.testing.assert_allclose(model(x[:2], y[:2])["y0"], (x + np.exp(y))[:2], rtol=RTOL)
