"""The attention kernel on this machine: sizes that no tile divides, masks, and scores without a finite result."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import te

from lepton_compiler.passes.lowering.attention_kernel import AttentionKnobs, AttentionShape, Strides, attention
from lepton_compiler.targets.cpu.register_tile import RegisterTile
from lepton_compiler.targets.cpu.schedule import ScheduledFunction, schedule_function
from lepton_compiler.targets.registry import native_target

TOLERANCE = 2e-6
"""Largest error of a weighted mean of values around 0, whose range is about 4."""
SHARED, OWN, NONE = "one row for all queries", "a row for each query", "no mask"


def _shape(batch: int, heads: int, queries: int, keys: int, dim: int, value_dim: int, mask: str) -> AttentionShape:
    def tokens(count: int, size: int) -> Strides:
        return Strides(0, count * heads * size, size, heads * size, 1)

    layouts = (tokens(queries, dim), tokens(keys, dim), tokens(keys, value_dim), tokens(queries, value_dim))
    masks = {NONE: None, SHARED: Strides(0, keys, 0, 0, 1), OWN: Strides(0, queries * keys, 0, keys, 1)}
    return AttentionShape(batch, heads, queries, keys, dim, value_dim, dim**-0.5, *layouts, masks[mask])


def _operands(shape: AttentionShape) -> list[np.ndarray]:
    s, generator = shape, np.random.default_rng(0)
    sizes = [(s.batch, s.queries, s.heads, s.dim), (s.batch, s.keys, s.heads, s.dim)]
    sizes.append((s.batch, s.keys, s.heads, s.value_dim))
    if s.mask is not None:
        sizes.append((s.batch, 1, s.queries if s.mask.row else 1, s.keys))
    return [generator.standard_normal(size).astype(np.float32) for size in sizes]


def _schedule(shape: AttentionShape, tile: RegisterTile, chunks: int, operands: list[np.ndarray]) -> ScheduledFunction:
    inputs = [te.placeholder((array.size,), "float32", name=f"x{i}") for i, array in enumerate(operands)]
    knobs = AttentionKnobs(tile, chunks, native_target().vector_lanes())
    return schedule_function(te.create_prim_func([*inputs, attention(shape, knobs, *inputs)]), native_target())


def _run(shape: AttentionShape, tile: RegisterTile, chunks: int, operands: list[np.ndarray]) -> np.ndarray:
    function = _schedule(shape, tile, chunks, operands).func.with_attr("global_symbol", "main")
    library = tvm.tirx.build(tvm.IRModule({"main": function}), tvm.target.Target(native_target().llvm_target()))
    sizes = (shape.batch, shape.queries, shape.heads, shape.value_dim)
    output = tvm.runtime.tensor(np.full(int(np.prod(sizes)), 1e30, "float32"))
    library["main"](*[tvm.runtime.tensor(array.reshape(-1)) for array in operands], output)
    return output.numpy().reshape(sizes)


def _reference(shape: AttentionShape, operands: list[np.ndarray]) -> np.ndarray:
    query, key, value, *mask = (array.astype(np.float64) for array in operands)
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) * shape.scale + (mask[0] if mask else 0.0)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, value)


@pytest.mark.parametrize(
    ("sizes", "tile", "chunks"),
    [
        ((1, 1, 1, 1, 1, 1), (5, 4), 1),
        ((1, 2, 16, 16, 16, 16), (4, 4), 1),
        ((2, 3, 13, 37, 24, 24), (5, 4), 1),
        ((1, 2, 7, 5, 9, 11), (5, 4), 2),
        ((2, 2, 33, 33, 20, 40), (3, 2), 3),
        ((1, 1, 50, 129, 64, 64), (6, 4), 4),
        ((1, 2, 6, 65, 8, 96), (6, 3), 5),
    ],
)
@pytest.mark.parametrize("mask", [NONE, SHARED, OWN])
def test_agrees_with_its_definition(sizes, tile, chunks, mask):
    shape = _shape(*sizes, mask)
    operands = _operands(shape)
    actual = _run(shape, RegisterTile(*tile), chunks, operands)
    assert np.abs(actual - _reference(shape, operands)).max() <= TOLERANCE


@pytest.mark.parametrize("mask", [SHARED, OWN])
def test_hidden_keys_take_no_part(mask):
    shape = _shape(2, 2, 7, 21, 16, 16, mask)
    operands = _operands(shape)
    operands[3][..., 10:] = -np.inf
    actual = _run(shape, RegisterTile(3, 2), 1, operands)
    assert np.abs(actual - _reference(shape, operands)).max() <= TOLERANCE
    operands[2][:, 10:] = 1e30
    np.testing.assert_array_equal(_run(shape, RegisterTile(3, 2), 1, operands), actual)


def test_rows_without_a_defined_result_are_nan_and_alone():
    shape = _shape(1, 2, 7, 21, 16, 16, OWN)
    operands = _operands(shape)
    operands[3][0, 0, 2] = -np.inf
    operands[3][0, 0, 4, 20] = np.nan
    actual, expected = _run(shape, RegisterTile(3, 2), 1, operands), _reference(shape, operands)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    assert np.isnan(actual).any(axis=(0, 2, 3)).tolist() == [False, False, True, False, True, False, False]
    assert np.nanmax(np.abs(actual - expected)) <= TOLERANCE


def test_large_scores_do_not_overflow():
    shape = _shape(1, 1, 5, 19, 8, 8, NONE)
    operands = _operands(shape)
    operands[0] *= 300
    assert np.abs(_run(shape, RegisterTile(2, 2), 1, operands) - _reference(shape, operands)).max() <= 1e-3


def test_the_schedule_says_how_it_runs():
    shape = _shape(1, 1, 5, 19, 8, 8, NONE)
    scheduled = _schedule(shape, RegisterTile(2, 3), 1, _operands(shape))
    assert scheduled.anchor == "attention"
    lanes = native_target().vector_lanes()
    assert scheduled.schedule == f"attention: tile_rows=2 tile_vectors=3 chunks=1 lanes={lanes}"
