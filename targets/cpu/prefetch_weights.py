"""Weights of the next group of output vectors are fetched while the tiles of this one are computed.

    for group                                      weights of one group stay in the second cache
      for tile t of T
        for chunk of channels, taps
          prefetch weight[group + 1, chunk, taps]: the t-th part of its lines
          for channel, pixels, vectors: sums += input * weight[group, ...]

Without it the first tile of each group waits for the memory, and all others leave it idle. In a large model no layer
finds its weights in a cache, and pays for that in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Var
from tvm.ir.expr import TensorLoad
from tvm.s_tir import SBlockRealize, Schedule
from tvm.s_tir.schedule import LoopRV
from tvm_ffi import structural_map, structural_walk

from lepton_compiler.targets.cpu.block_analysis import uses

_PREFETCH = "lepton.prefetch"
_MOST_TILES = 64
"""With more tiles the first one is a small part of the whole."""
_MOST_LINES = 256
"""Lines that one step of the loop around may ask for; more would come in bursts."""
_FEWEST_BYTES = 8 << 10
"""Weights of a group below this come from the cache soon enough."""
_READ, _INTO_ALL_CACHES, _DATA = 0, 3, 1
"""Arguments of LLVM's prefetch: kind of access, locality, kind of cache. The hint for the second cache alone does nothing
for minutes on a Zen 5, and much in others: Winograd layers then took 1.7 times as long, as without any prefetch."""


@dataclass(frozen=True)
class TilePosition:
    """How one axis of the sums tells which tile of its group is computed.

    Attributes:
        axis: Number of the axis among those of the block.
        size: Elements of one tile along it.
        stride: How far the number of the tile moves with each of them.
    """

    axis: int
    size: int
    stride: int


def prefetch_weights(
    sch: Schedule, loop: LoopRV, vector_axis: int, positions: Sequence[TilePosition], tiles: int, group_bytes: int
) -> None:
    """Asks for prefetches below ``loop``, where they pay.

    Args:
        sch: The schedule.
        loop: A loop around the tiles.
        vector_axis: Number of the axis of output vectors among those of the sums.
        positions: How the number of a tile follows from the others.
        tiles: Number of tiles of a group.
        group_bytes: Bytes of the weights of a group.
    """
    if 1 < tiles <= _MOST_TILES and group_bytes >= _FEWEST_BYTES:
        flat = [number for place in positions for number in (place.axis, place.size, place.stride)]
        sch.annotate(loop, _PREFETCH, [tiles, vector_axis, *flat])


def insert_prefetches(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Puts prefetches below every loop that asks for them; before tails are split, so that those prefetch as well."""

    def visit(loop: tirx.For) -> tirx.For:
        if _PREFETCH not in loop.annotations:
            return loop
        tiles, vector_axis, *flat = (int(number) for number in loop.annotations[_PREFETCH])
        positions = [TilePosition(*flat[i : i + 3]) for i in range(0, len(flat), 3)]
        others = {key: value for key, value in loop.annotations.items() if key != _PREFETCH}
        body = _with_prefetches(loop.body, tiles, vector_axis, positions)
        return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, annotations=others)

    return func.with_body(structural_map(func.body, (tirx.For, visit)))


def _with_prefetches(body: tirx.Stmt, tiles: int, vector_axis: int, positions: Sequence[TilePosition]) -> tirx.Stmt:
    loops: list[tirx.For] = []
    updates: list[SBlockRealize] = []
    structural_walk(body, [(tirx.For, loops.append), (SBlockRealize, updates.append)], order="pre")
    update = next((realize for realize in updates if realize.block.name_hint.endswith("_update")), None)
    if update is None:
        return body
    values = dict(zip([axis.var for axis in update.block.iter_vars], update.iter_values, strict=True))
    part = update.iter_values[-1]
    channels = next((loop for loop in reversed(loops) if uses(part, loop.loop_var)), None)
    weight = _weight(update, [update.block.iter_vars[place.axis].var for place in positions])
    if channels is None or weight is None:
        return body
    vectors = _unrolled_extent(loops, update.iter_values[vector_axis])
    inner = {loop.loop_var: tirx.IntImm(loop.loop_var.ty.dtype, 0) for loop in loops if _is_inside(loop, channels)}
    tile: tirx.Expr = tirx.IntImm(part.ty.dtype, 0)
    for place in positions:
        position = _substitute(update.iter_values[place.axis], inner)
        tile = tile + position // place.size * place.stride
    lines = int(channels.extent) * vectors
    count = math.ceil(lines / tiles)
    if lines > _MOST_LINES:
        return body
    lines_of = _WeightLines(weight, update.block.iter_vars[vector_axis].var, vectors, values, inner, channels.loop_var)
    prefetches = [lines_of.prefetch((tile % tiles * count + i) % lines) for i in range(count)]
    sequence = tirx.SeqStmt([*prefetches, channels])
    return structural_map(body, (tirx.For, lambda loop: sequence if loop.loop_var.same_as(channels.loop_var) else loop))


@dataclass(frozen=True)
class _WeightLines:
    """The cache lines of weights that one chunk of channels reads.

    Attributes:
        load: The load of the weight.
        vector: The block's variable that counts output vectors.
        vectors: How many of them a group has.
        values: Values of the block's variables.
        inner: Values of the loops' variables inside of the chunk.
        channel: The variable of the loop over the chunk's channels.
    """

    load: TensorLoad
    vector: Var
    vectors: int
    values: dict[Var, tirx.Expr]
    inner: dict[Var, tirx.Expr]
    channel: Var

    def prefetch(self, line: tirx.Expr) -> tirx.Stmt:
        """Fetches one line of the next group."""
        next_vector = self.values[self.vector] + self.vectors + line % self.vectors
        place = {**self.values, self.vector: next_vector}
        chosen = {**self.inner, self.channel: line // self.vectors}
        indices = [_substitute(_substitute(index, place), chosen) for index in self.load.indices]
        address = tirx.address_of(tirx.BufferLoad(self.load.source, indices))
        arguments = (tirx.IntImm("int32", number) for number in (_READ, _INTO_ALL_CACHES, _DATA))
        return tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, *arguments))


def _weight(update: SBlockRealize, positions: Sequence[Var]) -> TensorLoad | None:
    """The operand that is the same for all tiles."""
    written = [region.source for region in update.block.writes]
    loads: list[TensorLoad] = []
    structural_walk(update.block.body, (TensorLoad, loads.append))
    for load in loads:
        if any(load.source.same_as(source) for source in written):
            continue
        if not any(uses(index, variable) for index in load.indices for variable in positions):
            return load
    return None


def _is_inside(loop: tirx.For, outer: tirx.For) -> bool:
    found: list[tirx.For] = []
    structural_walk(outer.body, (tirx.For, lambda other: found.append(other) if other.same_as(loop) else None))
    return bool(found)


def _unrolled_extent(loops: Sequence[tirx.For], value: tirx.Expr) -> int:
    """Extent of the unrolled loop that an axis' value moves with; 1 where there is none."""
    unrolled = [loop for loop in loops if loop.kind == tirx.ForKind.UNROLLED and uses(value, loop.loop_var)]
    return max((int(loop.extent) for loop in unrolled), default=1)


def _substitute(expression: tirx.Expr, values: dict[Var, tirx.Expr]) -> tirx.Expr:
    return structural_map(expression, (Var, lambda variable: values.get(variable, variable)))
