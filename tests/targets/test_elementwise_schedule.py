from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import assert_close, at_every_level, compile_operator, random
from tvm import relax

BINARY = {"add": np.add, "multiply": np.multiply, "maximum": np.maximum, "subtract": np.subtract}
UNARY = {"exp": np.exp, "tanh": np.tanh, "abs": np.abs, "negative": np.negative}


@at_every_level
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 64, 7, 7), (64, 1, 1)),
        ((3, 5), (1, 5)),
        ((1003,), (1003,)),
        ((2, 3), ()),
        ((33, 517), (33, 517)),
        ((1, 1), (1,)),
    ],
)
def test_broadcasts(target, left, right):
    a, b = random(*left), np.asarray(random(*right, seed=1))
    compiled = compile_operator(lambda emit, x, y: relax.op.add(x, y), left, right, target=target)
    assert compiled.kernel.anchor == "elementwise" or not left
    assert_close(compiled(a, b), a + b)


def test_a_large_one_is_parallel_and_in_vectors():
    compiled = compile_operator(lambda emit, x: relax.op.nn.relu(x), (1, 64, 55, 57))
    assert "T.parallel" in compiled.text
    assert "T.vectorized" in compiled.text
    data = random(1, 64, 55, 57)
    assert_close(compiled(data), np.maximum(data, 0), 0.0)


def test_a_small_one_stays_on_one_core():
    compiled = compile_operator(lambda emit, x: relax.op.nn.relu(x), (64, 32))
    assert "T.parallel" not in compiled.text
    assert "T.vectorized" in compiled.text


def test_a_chain_stores_no_intermediate_tensor():
    def build(emit, x):
        return emit(relax.op.multiply(emit(relax.op.sigmoid(x)), emit(relax.op.add(x, relax.const(1.0)))))

    data = random(40, 50)
    compiled = compile_operator(build, data.shape)
    assert "sblock_alloc_buffer" not in compiled.text
    assert_close(compiled(data), (data + 1) / (1 + np.exp(-data.astype(np.float64))))


@pytest.mark.parametrize("size", [1, 7, 40])
def test_symbolic(size):
    compiled = compile_operator(lambda emit, x, y: relax.op.add(x, y), ("n", "s", 24), (24,))
    a, b = random(2, size, 24), random(24, seed=1)
    assert "T.parallel" in compiled.text
    assert_close(compiled(a, b), a + b, 0.0)


MOVES = {
    "concat": (lambda x: relax.op.concat([x, x], axis=1), lambda x: np.concatenate([x, x], axis=1)),
    "permute": (lambda x: relax.op.permute_dims(x, [0, 2, 1]), lambda x: np.transpose(x, [0, 2, 1])),
    "slice": (
        lambda x: relax.op.strided_slice(x, [2], [1], [9], [2], assume_inbound=True),
        lambda x: x[:, :, 1:9:2],
    ),
    "pad": (
        lambda x: relax.op.nn.pad(x, [0, 0, 1, 2, 3, 0], pad_value=2.0),
        lambda x: np.pad(x, [(0, 0), (1, 2), (3, 0)], constant_values=2.0),
    ),
    "take": (
        lambda x: relax.op.take(x, relax.const(np.array([3, 0, 3], "int64")), axis=1),
        lambda x: np.take(x, [3, 0, 3], axis=1),
    ),
    "flip": (lambda x: relax.op.flip(x, axis=2), lambda x: np.flip(x, axis=2)),
    "tile": (lambda x: relax.op.tile(x, [1, 2, 3]), lambda x: np.tile(x, [1, 2, 3])),
    "cast": (lambda x: relax.op.astype(x, "int64"), lambda x: x.astype("int64")),
    "compare": (lambda x: relax.op.greater(x, relax.const(0.25)), lambda x: x > 0.25),
}


@at_every_level
@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("shape", [(2, 5, 11), (3, 40, 192)])
def test_data_movement_is_exact(target, name, shape):
    move, reference = MOVES[name]
    data = random(*shape)
    result = compile_operator(lambda emit, x: move(x), shape, target=target)(data)
    np.testing.assert_array_equal(result, reference(data))


@at_every_level
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("shape", [(1, 2, 7, 7), (2, 3, 5, 33), ("n", 2, "h", 20)])
def test_channels_of_a_vector_are_taken_apart_tile_by_tile(target, lanes, shape):
    compiled = compile_operator(
        lambda emit, x: relax.op.permute_dims(x, [0, 1, 4, 2, 3]), (*shape, lanes), target=target
    )
    assert "in tiles" in compiled.kernel.schedule
    data = random(*[3 if isinstance(size, str) else size for size in shape], lanes)
    np.testing.assert_array_equal(compiled(data), np.transpose(data, [0, 1, 4, 2, 3]))


@st.composite
def _chains(draw):
    rank = draw(st.integers(1, 4))
    shape = tuple(draw(st.lists(st.integers(1, 19), min_size=rank, max_size=rank)))
    other = tuple(1 if draw(st.booleans()) else size for size in shape)
    steps = draw(st.lists(st.sampled_from([*BINARY, *UNARY]), min_size=1, max_size=4))
    reduced = draw(st.none() | st.sampled_from(["sum", "max", "mean"]))
    axes = draw(st.sets(st.integers(0, rank - 1), min_size=1)) if reduced else set()
    return shape, other, steps, reduced, sorted(axes), draw(st.booleans())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(_chains())
def test_random_chains_with_a_reduction(chain):
    shape, other, steps, reduced, axes, keep = chain

    def build(emit, x, y):
        for step in steps:
            operator = getattr(relax.op, step)
            x = emit(operator(x, y) if step in BINARY else operator(emit(relax.op.tanh(x))))
        return emit(getattr(relax.op, reduced)(x, axes, keep)) if reduced else x

    a, b = random(*shape), random(*other, seed=1)
    expected = a.astype(np.float64)
    for step in steps:
        expected = BINARY[step](expected, b) if step in BINARY else UNARY[step](np.tanh(expected))
    if reduced:
        expected = getattr(np, reduced)(expected, axis=tuple(axes), keepdims=keep)
    assert_close(compile_operator(build, shape, other)(a, b), np.asarray(expected), 2e-6 * len(steps))
