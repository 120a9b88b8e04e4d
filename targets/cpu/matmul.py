"""Matrix product: a register tile of rows by vectors of columns.

    for batch, chunk of rows, group of column vectors        parallel
      for tile of rows in the chunk
        sums[rows, vectors, lanes] = 0                        in registers
        for inner                                             the reduction
          for row, vector                                     unrolled
            sums[row, vector, :] += a[row, inner] * b[inner, vector, :]
        output = epilogue(sums)                               contiguous vectors

``dense`` reads a right side packed at compile time, ``matmul`` one that is only known at run time. The definitions are
in ``passes/lowering/matmul_computes.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, iterations
from lepton_compiler.targets.cpu.epilogue import find_anchor, gather_epilogue
from lepton_compiler.targets.cpu.generic import schedule_other_stages
from lepton_compiler.targets.cpu.joined_axes import join_axes
from lepton_compiler.targets.cpu.knobs import CHUNK_FACTORS, KnobChooser, choose
from lepton_compiler.targets.cpu.loop_tail import peel_tail
from lepton_compiler.targets.cpu.prefetch_weights import prefetch_weights
from lepton_compiler.targets.cpu.register_tile import RegisterTile, default_tile, register_tiles
from lepton_compiler.targets.cpu.summing_loops import TilePosition
from lepton_compiler.targets.spec import TargetSpec

_PIECES = 16
"""Parallel pieces that a large product is cut into at least."""
_WORTH_SHARING = 1 << 16
"""Multiply-adds of one vector lane below which one core is faster alone."""
_MOST_GROUP_BYTES = 512 << 10
"""Columns of a group that all tiles of rows find in the second cache, beside the rows and the next group."""
_FEWER_VECTORS = 2
_INNER_UNROLL = 4
"""Steps of the reduction in one iteration: fewer branches, more loads in flight."""


@dataclass(frozen=True)
class MatmulKnobs:
    """What can be chosen.

    Attributes:
        tile_rows: Rows of a register tile.
        tile_vectors: Vectors of columns of a register tile.
        chunks: Pieces that the rows are cut into.
    """

    tile_rows: int
    tile_vectors: int
    chunks: int

    def __str__(self) -> str:
        return f"tile_rows={self.tile_rows} tile_vectors={self.tile_vectors} chunks={self.chunks}"


def default_knobs(
    batch: int | None, rows: int | None, columns: int | None, inner: int | None, spec: TargetSpec
) -> MatmulKnobs:
    """The closed form: fewest estimated cycles in a tile, then enough pieces for the cores.

    Args:
        batch: Number of products.
        rows: Rows of each, None where symbolic (as for the others).
        columns: Columns, filled up to whole vectors.
        inner: Length of the reduction.
        spec: The target.
    """
    vectors = 64 if columns is None else max(1, columns // spec.vector_lanes())
    tile = default_tile(spec, rows, vectors, inner)
    if inner is not None and tile.vectors * inner * spec.vector_lanes() * 4 > _MOST_GROUP_BYTES and rows != 1:
        tile = default_tile(spec, rows, math.gcd(vectors, _FEWER_VECTORS), inner)
    return MatmulKnobs(tile.rows, tile.vectors, _chunks(batch, rows, vectors, tile))


def candidate_knobs(
    batch: int | None, rows: int | None, columns: int | None, spec: TargetSpec
) -> Iterator[MatmulKnobs]:
    """What may be better: every tile that fits, with as many pieces as the cores need and more.

    The arguments are those of ``default_knobs``.
    """
    vectors = 64 if columns is None else max(1, columns // spec.vector_lanes())
    for tile in register_tiles(spec, rows, vectors):
        for factor in CHUNK_FACTORS:
            yield MatmulKnobs(tile.rows, tile.vectors, _chunks(batch, rows, vectors, tile, factor))


def _chunks(batch: int | None, rows: int | None, vectors: int, tile: RegisterTile, factor: int = 1) -> int:
    """Pieces of the rows, so that there are about ``factor * _PIECES`` with those of the columns."""
    wanted = factor * _PIECES
    pieces = (batch or 1) * max(1, vectors // tile.vectors)
    if rows is None:
        return 1 if pieces >= wanted else 4
    tiles = -(-rows // tile.rows)
    # A piece of one tile has no loop that its tail could be split off.
    most = tiles if rows % tile.rows == 0 else -(-tiles // 2)
    return min(most, -(-wanted // pieces))


def schedule_dense(
    sch: Schedule, spec: TargetSpec, knobs: MatmulKnobs | KnobChooser | None = None
) -> tuple[Schedule, str]:
    """Schedules a product with a packed right side; returns the schedule to go on with and the knob values in words."""
    info = find_anchor(sch, "dense")
    rows, blocks, lanes = (axis.extent for axis in info.spatial)
    default = default_knobs(1, rows, blocks * lanes, info.reductions[0].extent, spec)
    chosen = choose(knobs, default, lambda: candidate_knobs(1, rows, blocks * lanes, spec))
    return _schedule(sch, info, chosen, lanes, spec)


def schedule_matmul(
    sch: Schedule, spec: TargetSpec, knobs: MatmulKnobs | KnobChooser | None = None
) -> tuple[Schedule, str]:
    """Schedules a product of two run-time operands; returns the schedule to go on with and the knob values in words."""
    info = find_anchor(sch, "matmul")
    *batch, rows, columns = info.spatial
    lanes = spec.vector_lanes()
    products = iterations(tuple(batch))
    default = default_knobs(products, rows.extent, columns.extent, info.reductions[0].extent, spec)
    chosen = choose(knobs, default, lambda: candidate_knobs(products, rows.extent, columns.extent, spec))
    return _schedule(sch, info, chosen, lanes, spec)


def _schedule(sch: Schedule, info: BlockInfo, knobs: MatmulKnobs, lanes: int, spec: TargetSpec) -> tuple[Schedule, str]:
    work = iterations(info.axes)
    epilogue = gather_epilogue(sch, info.block)
    if info.anchor == "dense":
        sch = join_axes(sch, epilogue, 0, len(epilogue.axes) - 1)
    sums, output = sch.get_sblock(info.name), sch.get_sblock(epilogue.name)
    notes = schedule_other_stages(sch, {info.name, epilogue.name}, spec)
    tile = _tile_output(sch, output, knobs, lanes, share=work is None or work >= _WORTH_SHARING)
    if info.anchor == "dense":
        _prefetch_next_group(sch, info, tile, knobs)
    _sum_in_registers(sch, sums, tile, lanes, is_packed=info.anchor == "dense")
    *_, row, vector, lane = sch.get_loops(output)
    sch.vectorize(lane)
    sch.unroll(vector)
    sch.unroll(row)
    return sch, "; ".join([str(knobs), *notes])


def _tile_output(sch: Schedule, output: SBlockRV, knobs: MatmulKnobs, lanes: int, *, share: bool) -> LoopRV:
    """Splits the output into tiles; returns the loop over the tiles of a chunk."""
    *batch, row, column = sch.get_loops(output)
    rows, columns = sch.get(row).extent, sch.get(column).extent
    chunk, tile, row = sch.split(row, [knobs.chunks, None, knobs.tile_rows])
    group, vector, lane = sch.split(column, [None, knobs.tile_vectors, lanes])
    if _divides(knobs.tile_vectors * lanes, columns):
        # Weights of a group are read by one core.
        sch.reorder(*batch, group, chunk, tile, row, vector, lane)
        outer = [*batch, group, chunk]
    else:
        sch.reorder(*batch, chunk, group, tile, row, vector, lane)
        outer = [*batch, chunk]
        peel_tail(sch, group)
    if not _divides(knobs.chunks * knobs.tile_rows, rows):
        peel_tail(sch, tile)
    fused = sch.fuse(*outer)
    if share:
        sch.parallel(fused)
    return tile


def _prefetch_next_group(sch: Schedule, info: BlockInfo, tile: LoopRV, knobs: MatmulKnobs) -> None:
    """While one group of columns is computed, the weights of the next come from memory."""
    rows, _, lanes = (axis.extent for axis in info.spatial)
    inner = info.reductions[0].extent
    if rows is not None and lanes is not None and inner is not None:
        positions = [TilePosition(0, knobs.tile_rows, 1)]
        prefetch_weights(sch, tile, 1, positions, rows // knobs.tile_rows, inner * knobs.tile_vectors * lanes * 4)


def _sum_in_registers(sch: Schedule, sums: SBlockRV, tile: LoopRV, lanes: int, *, is_packed: bool) -> None:
    sch.compute_at(sums, tile, preserve_unit_loops=True)
    sch.set_scope(sums, 0, "local")
    *_, inner = sch.get_loops(sums)
    if is_packed:
        row, vector, lane = sch.get_loops(sums)[-4:-1]
    else:
        row, column = sch.get_loops(sums)[-3:-1]
        vector, lane = sch.split(column, [None, lanes])
    first = inner
    extent = _static_extent(sch, inner)
    sch.reorder(inner, row, vector, lane)
    if extent is not None and extent % _INNER_UNROLL == 0 and extent > _INNER_UNROLL:
        first, inner = sch.split(inner, [None, _INNER_UNROLL])
        sch.unroll(inner)
    sch.vectorize(lane)
    sch.unroll(row)
    sch.unroll(vector)
    sch.decompose_reduction(sums, first)


def _static_extent(sch: Schedule, inner: LoopRV) -> int | None:
    extent = sch.get(inner).extent
    return int(extent) if isinstance(extent, tirx.IntImm) else None


def _divides(factor: int, extent: tirx.Expr) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent) % factor == 0
