"""What it costs to compute products apart or as one: the cost model of ``MergeProducts``.

Cycles of one core. A product takes what its register tiles take, those included that columns only partly fill, or what
its weights take to arrive; each kernel call comes on top, and a part of the result that can't be read in place is
written once more:

    apart     sum over products of (call + product(columns))
    merged    call + product(sum of columns) + sum over copied parts of (call + bytes / copy rate)

The constants were fitted to products of 1 to 512 rows, 64 to 512 steps and 4 to 768 columns on a Zen 5 core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lepton_compiler.targets.cpu.matmul import default_knobs
from lepton_compiler.targets.cpu.register_tile import TYPICAL_ROWS, RegisterTile, total_cycles
from lepton_compiler.targets.spec import TargetSpec

_CALL_CYCLES = 600.0
"""A kernel call, from the executor and back."""
_COPY_BYTES_PER_CYCLE = 12.0
"""Bytes of a part that are read from the joined result and written in a cycle."""
_STREAM_BYTES_PER_CYCLE = 7.0
"""Bytes of weights that a core takes in from memory in a cycle."""


@dataclass(frozen=True)
class ProductSize:
    """Products of one tensor.

    Attributes:
        rows: Rows of all leading axes together, None where that is symbolic.
        inner: Length of the sums.
        weight_bytes: Bytes of one element of the weight.
        steps: Multiply-adds of one element of the result: fewer than ``inner`` where one instruction takes a pair.
    """

    rows: int | None
    inner: int
    weight_bytes: int = 4
    steps: int | None = None


def apart_cycles(target: TargetSpec, size: ProductSize, columns: Sequence[int]) -> float:
    """Estimated cycles of one product for each number of columns."""
    return sum(_CALL_CYCLES + _product_cycles(target, size, count) for count in columns)


def merged_cycles(target: TargetSpec, size: ProductSize, columns: Sequence[int], copied: Sequence[int]) -> float:
    """Estimated cycles of one product with all columns, and of a copy for each number of columns in ``copied``."""
    rows = size.rows or TYPICAL_ROWS
    copies = sum(_CALL_CYCLES + rows * count * 4 / _COPY_BYTES_PER_CYCLE for count in copied)
    return _CALL_CYCLES + _product_cycles(target, size, sum(columns)) + copies


def _product_cycles(target: TargetSpec, size: ProductSize, columns: int) -> float:
    lanes = target.vector_lanes()
    vectors = -(-columns // lanes)
    knobs = default_knobs(1, size.rows, vectors * lanes, size.inner, target)
    tile = RegisterTile(knobs.tile_rows, knobs.tile_vectors)
    arithmetic = total_cycles(target, tile, size.rows or TYPICAL_ROWS, vectors, size.steps or size.inner)
    return max(arithmetic, size.inner * vectors * lanes * size.weight_bytes / _STREAM_BYTES_PER_CYCLE)
