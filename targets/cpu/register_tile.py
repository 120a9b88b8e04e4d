"""The register tile of a multiply-accumulate kernel, in closed form.

A tile of ``rows`` scalars by ``vectors`` vectors keeps ``rows * vectors`` accumulators in registers. One step of the
reduction loads ``vectors`` vectors and broadcasts ``rows`` scalars, so it takes

    max(rows * vectors / fma_per_cycle, (rows + vectors) / loads_per_cycle, fma_latency)   cycles,

the bounds by arithmetic, by loads, and by the chain through each accumulator. Sources: Goto and van de Geijn, "Anatomy
of High-Performance Matrix Multiplication", 2008; Low et al., "Analytical Modeling Is Enough for High-Performance
BLIS", 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

from lepton_compiler.targets.spec import Architecture, TargetSpec

_LOADS_PER_CYCLE = 2
_FMA_LATENCY = 4
_MANY_REGISTERS = 32
_SPARE_REGISTERS = 2
_CYCLES_PER_TILE = 24
"""Clearing the accumulators, starting the loops, and storing the result."""
_MOST_ROWS = 14
"""More rows only make the code longer; with two vectors this fills 32 registers."""
_MOST_VECTORS = 4
_MOST_VECTORS_OF_ONE_ROW = 8
"""With one row, vectors are the only independent chains."""
_TALL_VECTORS = 3
TYPICAL_ROWS = 1 << 10
"""Stands for a number of rows that is not known."""


@dataclass(frozen=True)
class RegisterTile:
    """Rows (broadcast scalars) and vectors of one tile."""

    rows: int
    vectors: int


def default_tile(spec: TargetSpec, rows: int | None, vectors: int, steps: int | None) -> RegisterTile:
    """The tile with the fewest estimated cycles.

    Args:
        spec: Target, for registers and arithmetic rate.
        rows: Number of rows in all, None where it is symbolic.
        vectors: Number of vectors in all; the tile's divides it.
        steps: Length of the reduction, None where it is symbolic.
    """
    return min(
        register_tiles(spec, rows, vectors),
        key=lambda tile: (total_cycles(spec, tile, rows or TYPICAL_ROWS, vectors, steps or 64), -tile.rows),
    )


def register_tiles(spec: TargetSpec, rows: int | None, vectors: int) -> list[RegisterTile]:
    """Every tile that fits into the registers; the arguments are those of ``default_tile``."""
    return [
        RegisterTile(height, width)
        for width in range(1, (_MOST_VECTORS_OF_ONE_ROW if rows == 1 else _MOST_VECTORS) + 1)
        if vectors % width == 0
        for height in range(1, _MOST_ROWS + 1)
        if _fits(spec, height, width) and height <= (rows or height)
    ]


def tall_tile(spec: TargetSpec, rows: int) -> RegisterTile:
    """The tile for operands that a cache holds: three vectors, and as many rows as reuse each of them.

    Args:
        spec: Target, for registers.
        rows: Number of rows in all.
    """
    spare = _SPARE_REGISTERS if spec.vector_registers >= _MANY_REGISTERS else 0
    # Beside the sums, one step's vectors and one broadcast scalar.
    accumulators = min(spec.vector_registers - _TALL_VECTORS - 1 - spare, _most_accumulators(spec))
    return RegisterTile(min(rows, accumulators // _TALL_VECTORS), _TALL_VECTORS)


def _fits(spec: TargetSpec, rows: int, vectors: int) -> bool:
    """Accumulators, one step's vectors and its broadcast scalars, all in registers.

    With 32 registers LLVM broadcasts the scalars of all rows before it multiplies; with 16 it takes them one by one.
    """
    accumulators = rows * vectors
    scalars = rows if spec.vector_registers >= _MANY_REGISTERS else 1
    spare = _SPARE_REGISTERS if spec.vector_registers >= _MANY_REGISTERS else 0
    together = accumulators + vectors + scalars + spare
    return accumulators <= _most_accumulators(spec) and together <= spec.vector_registers


def _most_accumulators(spec: TargetSpec) -> int:
    """Accumulators that the register allocator keeps: on ARM, scalars wait in vector registers too."""
    if spec.architecture is Architecture.X86_64:
        return spec.vector_registers - 3
    return spec.vector_registers // 2


def total_cycles(spec: TargetSpec, tile: RegisterTile, rows: int, vectors: int, steps: int) -> float:
    """Estimated cycles of all tiles of ``rows`` by ``vectors``, the partial ones at the end included."""
    whole, rest = divmod(rows, tile.rows)
    total = whole * tile_cycles(spec, tile.rows, tile.vectors, steps)
    if rest:
        total += tile_cycles(spec, rest, tile.vectors, steps)
    return total * (vectors // tile.vectors)


def tile_cycles(spec: TargetSpec, rows: int, vectors: int, steps: int) -> float:
    """Estimated cycles of one tile of ``rows`` by ``vectors`` accumulators over ``steps`` of the reduction."""
    step = max(rows * vectors / spec.fma_per_cycle, (rows + vectors) / _LOADS_PER_CYCLE, _FMA_LATENCY)
    return steps * step + _CYCLES_PER_TILE
