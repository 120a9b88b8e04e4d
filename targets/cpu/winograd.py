"""Winograd convolution of packed activations: transform, multiply, transform back.

Many tiles, in chunks that stay in the core's caches:

    for n, chunk of tile rows and columns                  parallel
      for block
        padded = the chunk's input
        for tile: data = B^T padded B                       vectors of channels, in registers
      for place, group of output vectors, tiles             a register tile of tiles by vectors
        products = sum over channels of data * weight
      for block, tile: output = epilogue(A^T products A)    in registers

Few tiles (images of 14 or 7 pixels) make too few chunks for the cores; there each of the three steps is parallel for
itself, for as many images together as leave the transformed input in the second cache:

    for images
      for n, block                                           parallel
        for tile: data = B^T padded B
      for place, group of output vectors                     parallel
        for n, tiles: products = sum over channels of data * weight
      for n, block                                           parallel
        for tile: output = epilogue(A^T products A)

The definition is in ``passes/winograd/winograd_compute.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from lepton_compiler.targets.cpu.block_analysis import BlockInfo, describe_block, iterations
from lepton_compiler.targets.cpu.epilogue import find_anchor, gather_epilogue
from lepton_compiler.targets.cpu.generic import schedule_other_stages
from lepton_compiler.targets.cpu.knobs import CHUNK_FACTORS, KnobChooser, choose
from lepton_compiler.targets.cpu.loop_kinds import mark_parallel, mark_vectorized
from lepton_compiler.targets.cpu.pixel_tile import even_tile, even_tiles, loops_below, sum_in_registers
from lepton_compiler.targets.cpu.prefetch_weights import prefetch_weights
from lepton_compiler.targets.cpu.summing_loops import TilePosition
from lepton_compiler.targets.spec import TargetSpec

_FEWEST_CHUNKS = 4
"""Chunks of an image that keep a few cores busy; with fewer, each step is parallel for itself."""
_ENOUGH_TILES = 14
"""Tiles that a transformed weight should serve each time that it is loaded from behind the second cache."""
_MOST_WEIGHTS = 4.0
"""Weights up to this multiple of the second cache are read anew for every register tile; the last cache holds them."""


@dataclass(frozen=True)
class WinogradKnobs:
    """What can be chosen.

    Attributes:
        tile_rows: Rows of tiles of a chunk; None makes each step parallel for itself.
        tile_columns: Columns of tiles of a chunk; None takes whole rows.
        tiles: Tiles of a register tile.
        vectors: Vectors of output channels of a register tile.
        images: Images that each step computes together; 1 with chunks.
    """

    tile_rows: int | None
    tiles: int
    vectors: int
    tile_columns: int | None = None
    images: int = 1

    def __str__(self) -> str:
        if self.tile_rows is None:
            place = "steps" if self.images == 1 else f"steps images={self.images}"
        else:
            place = f"tile_rows={self.tile_rows} tile_columns={self.tile_columns}"
        return f"{place} tiles={self.tiles} tile_vectors={self.vectors}"


@dataclass(frozen=True)
class WinogradSize:
    """What a layer consists of.

    Attributes:
        batch: Images, None where symbolic.
        rows: Rows of tiles of an image.
        columns: Columns of tiles of an image.
        out_blocks: Vectors of output channels.
        weight_bytes: Bytes of all transformed weights.
        data_bytes: Bytes of the transformed input of one image.
    """

    batch: int | None
    rows: int
    columns: int
    out_blocks: int
    weight_bytes: int
    data_bytes: int


def default_knobs(size: WinogradSize, spec: TargetSpec) -> WinogradKnobs:
    """The closed form: chunks of one register tile where weights stay in a near cache, else of enough tiles."""
    rows, columns = size.rows, size.columns
    divisors = [count for count in range(1, rows + 1) if rows % count == 0]
    height = next((count for count in divisors if count * columns >= _ENOUGH_TILES), rows)
    if rows // height < _FEWEST_CHUNKS:
        tile = even_tile(spec, rows, columns, size.out_blocks)
        return WinogradKnobs(None, tile.columns, tile.vectors, images=_images(size, spec.l2_bytes))
    tile = even_tile(spec, height, columns, size.out_blocks)
    if size.weight_bytes > spec.l2_bytes * _MOST_WEIGHTS:
        return WinogradKnobs(height, tile.columns, tile.vectors)
    return WinogradKnobs(max(1, tile.columns // columns), tile.columns, tile.vectors, min(tile.columns, columns))


def _images(size: WinogradSize, cache_bytes: int) -> int:
    """How many images' transformed inputs stay in a cache: a number that divides the batch."""
    batch = size.batch or 1
    return max(
        count
        for count in range(1, batch + 1)
        if count == 1 or (batch % count == 0 and count * size.data_bytes <= cache_bytes)
    )


def candidate_knobs(size: WinogradSize, spec: TargetSpec) -> Iterator[WinogradKnobs]:
    """What may be better: steps that are parallel for themselves, chunks of whole rows, and chunks of parts of rows.

    Chunks divide rows and columns, and there are enough of them for the cores.
    """
    rows, columns = size.rows, size.columns
    for images in dict.fromkeys(_images(size, factor * spec.l2_bytes) for factor in CHUNK_FACTORS):
        for tile in even_tiles(spec, rows, columns, size.out_blocks):
            yield WinogradKnobs(None, tile.columns, tile.vectors, images=images)
    for height in (count for count in range(1, rows + 1) if rows % count == 0):
        for across in (count for count in range(1, columns + 1) if columns % count == 0):
            if rows // height * (columns // across) >= _FEWEST_CHUNKS:
                for tile in even_tiles(spec, height, across, size.out_blocks):
                    yield WinogradKnobs(height, tile.columns, tile.vectors, across if across < columns else None)


def schedule_winograd(
    sch: Schedule, spec: TargetSpec, knobs: WinogradKnobs | KnobChooser | None = None
) -> tuple[Schedule, str]:
    """Applies the schedule; returns the schedule to go on with and the knob values in words."""
    info = find_anchor(sch, "winograd")
    size, vector_bytes = _size(sch, info, spec)
    chosen = choose(knobs, default_knobs(size, spec), lambda: candidate_knobs(size, spec))
    output = gather_epilogue(sch, info.block)
    done = {"padded", "half_data", "data", "sums", "products", "half_result", info.name, output.name}
    notes = schedule_other_stages(sch, done, spec)
    around, tile = _tile_result(sch, info.block, chosen)
    _multiply(sch, chosen, around)
    _prefetch(sch, chosen, size, vector_bytes)
    _transform_data(sch, chosen, around)
    for name in ("data", "products"):
        _spread_over_sets(sch, sch.get_sblock(name), spec)
    # Last, because its conditions at the image's border would keep TVM from scheduling what stands before it.
    sch.reverse_compute_at(output.block, tile, preserve_unit_loops=True)
    _unroll_below(sch, output.block, tile)
    return sch, "; ".join([str(chosen), *notes])


def _size(sch: Schedule, info: BlockInfo, spec: TargetSpec) -> tuple[WinogradSize, int]:
    """The layer, and the bytes of the weights of one vector of output channels at one place of a tile."""
    batch, out_blocks, rows, columns, *_ = (axis.extent for axis in info.spatial)
    assert out_blocks is not None and rows is not None and columns is not None
    sums = describe_block(sch, sch.get_sblock("sums"))
    channels, places = iterations(sums.reductions), sums.spatial[1].extent
    assert channels is not None and places is not None
    vector_bytes = channels * spec.vector_lanes() * 4
    weight_bytes, data_bytes = places * out_blocks * vector_bytes, places * rows * columns * channels * 4
    return WinogradSize(batch, rows, columns, out_blocks, weight_bytes, data_bytes), vector_bytes


def _tile_result(sch: Schedule, result: SBlockRV, knobs: WinogradKnobs) -> tuple[LoopRV, LoopRV]:
    """Transforms back tile by tile; returns the loop around all three steps, and the one over a row's tiles."""
    batch, block, i, j, *_ = sch.get_loops(result)
    if knobs.tile_rows is None:
        around, image = sch.split(batch, [None, knobs.images])
        mark_parallel(sch, sch.fuse(image, block))
    else:
        chunk, i = sch.split(i, [None, knobs.tile_rows])
        part, j = sch.split(j, [None, knobs.tile_columns or sch.get(j).extent])
        sch.reorder(batch, chunk, part, block, i, j)
        around = sch.fuse(batch, chunk, part)
        mark_parallel(sch, around)
    half_result = sch.get_sblock("half_result")
    sch.compute_at(half_result, j, preserve_unit_loops=True)
    for block in (half_result, result):
        sch.set_scope(block, 0, "local")
        _unroll_below(sch, block, j)
    return around, j


def _spread_over_sets(sch: Schedule, block: SBlockRV, spec: TargetSpec) -> None:
    """Keeps the places of a tile, which are touched together, out of each other's cache sets."""
    lanes = spec.vector_lanes()
    sch.storage_align(block, 0, 1, 4 * lanes, lanes)


def _unroll_below(sch: Schedule, block: SBlockRV, loop: LoopRV) -> None:
    *places, lane = loops_below(sch, block, loop)
    mark_vectorized(sch, lane)
    for place in places:
        sch.unroll(place)


def _multiply(sch: Schedule, knobs: WinogradKnobs, around: LoopRV) -> None:
    products, sums = sch.get_sblock("products"), sch.get_sblock("sums")
    sch.compute_at(products, around, preserve_unit_loops=True)
    image, place, block, i, j, lane = loops_below(sch, products, around)
    group, vector = sch.split(block, [None, knobs.vectors])
    tile, inner = sch.split(sch.fuse(i, j), [None, knobs.tiles])
    sch.reorder(place, group, image, tile, vector, inner, lane)
    if knobs.tile_rows is None:
        mark_parallel(sch, sch.fuse(place, group))
    mark_vectorized(sch, lane)
    sch.unroll(inner)
    sch.unroll(vector)
    sum_in_registers(sch, sums, tile, 2)


def _prefetch(sch: Schedule, knobs: WinogradKnobs, size: WinogradSize, vector_bytes: int) -> None:
    """Weights of the next group of vectors, or of the next place, whose weights lie behind."""
    products = sch.get_sblock("products")
    columns = knobs.tile_columns or size.columns
    tiles = (knobs.tile_rows or size.rows) * columns // knobs.tiles
    if knobs.tiles <= columns:
        positions = [TilePosition(3, 1, columns // knobs.tiles), TilePosition(4, knobs.tiles, 1)]
    else:
        positions = [TilePosition(3, knobs.tiles // columns, 1)]
    if knobs.images > 1:
        positions.append(TilePosition(0, 1, tiles))
    group_bytes = knobs.vectors * vector_bytes
    prefetch_weights(sch, sch.get_loops(products)[0], 2, positions, tiles * knobs.images, group_bytes)


def _transform_data(sch: Schedule, knobs: WinogradKnobs, around: LoopRV) -> None:
    padded, half_data, data = (sch.get_sblock(name) for name in ("padded", "half_data", "data"))
    sch.compute_at(data, around, preserve_unit_loops=True)
    image, place, block, i, j, lane = loops_below(sch, data, around)
    sch.reorder(image, block, i, j, place, lane)
    outer = block
    if knobs.tile_rows is None:
        outer = sch.fuse(image, block)
        mark_parallel(sch, outer)
    mark_vectorized(sch, lane)
    sch.unroll(place)
    sch.compute_at(half_data, j, preserve_unit_loops=True)
    sch.set_scope(half_data, 0, "local")
    _unroll_below(sch, half_data, j)
    sch.compute_at(padded, outer, preserve_unit_loops=True)
    mark_vectorized(sch, sch.get_loops(padded)[-1])
