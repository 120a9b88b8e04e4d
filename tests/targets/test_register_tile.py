from __future__ import annotations

import pytest

from lepton_compiler.targets.cpu.register_tile import default_tile, tall_tile
from lepton_compiler.targets.registry import TARGETS

WIDE = TARGETS["x86-64-v3"]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    ("rows", "vectors", "steps"), [(None, 8, 576), (49, 64, 512), (1, 125, 2048), (3136, 3, 64), (7, 1, 1)]
)
def test_fits_the_registers_of_every_target(name, rows, vectors, steps):
    spec = TARGETS[name]
    tile = default_tile(spec, rows, vectors, steps)
    assert tile.rows * tile.vectors + tile.vectors + 1 <= spec.vector_registers
    assert vectors % tile.vectors == 0
    assert tile.rows <= (rows or tile.rows)


@pytest.mark.parametrize("name", TARGETS)
def test_tall_tile_fits_the_registers_of_every_target(name):
    tile = tall_tile(TARGETS[name], 100)
    assert tile.rows > 1
    assert tile.rows * tile.vectors + tile.vectors + 1 <= TARGETS[name].vector_registers
    assert tall_tile(TARGETS[name], 2).rows <= 2


def test_hides_the_latency_of_the_multiply_add():
    tile = default_tile(WIDE, 3136, 8, 576)
    assert tile.rows * tile.vectors >= 8


def test_prefers_a_tile_that_leaves_a_full_rest():
    # 49 = 9 * 5 + 4 wastes less than 49 = 8 * 6 + 1.
    assert default_tile(WIDE, 49, 64, 512).rows == 5


def test_one_row_takes_more_vectors():
    # A chain of four cycles at two a cycle keeps eight multiply-adds in flight; one row has only vectors for that.
    assert default_tile(WIDE, 1, 40, 1024).vectors >= 5


def test_an_odd_number_of_vectors_takes_one_or_all():
    assert default_tile(WIDE, 196, 5, 64).vectors == 1
    assert default_tile(WIDE, 196, 3, 64).vectors == 3
