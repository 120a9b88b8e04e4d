"""The loops of a sum that is kept in registers, and what prefetches in front of its innermost steps need of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Var
from tvm.ir.expr import TensorLoad
from tvm.s_tir import SBlockRealize, Schedule
from tvm.s_tir.schedule import LoopRV
from tvm_ffi import structural_map, structural_walk

from lepton_compiler.targets.cpu.block_analysis import uses

LINE_BYTES = 64
"""Of a cache line, on every processor that has a record."""

_READ, _INTO_ALL_CACHES, _DATA = 0, 3, 1
"""Arguments of LLVM's prefetch: kind of access, locality, kind of cache. The hint for the second cache alone was
ignored for minutes at a time on a Zen 5: Winograd layers then took 1.7 times as long, as without any prefetch."""


@dataclass(frozen=True)
class TilePosition:
    """How one axis of the sums tells which tile is computed.

    Attributes:
        axis: Number of the axis among those of the block.
        size: Elements of one tile along it.
        stride: How far the number of the tile moves with each of them.
    """

    axis: int
    size: int
    stride: int


@dataclass(frozen=True)
class SummingLoops:
    """A tile of sums, its loop over the channels of one chunk, and the operands.

    Attributes:
        body: The statement that holds it all.
        update: The block that adds a product.
        channels: The loop over the channels of a chunk, around the pixels and vectors of a tile.
        loops: Every loop of the body.
        values: Values of the block's variables.
        at_start: The loops inside of the chunk, at zero.
    """

    body: tirx.Stmt
    update: SBlockRealize
    channels: tirx.For
    loops: tuple[tirx.For, ...]
    values: dict[Var, tirx.Expr]
    at_start: dict[Var, tirx.Expr]

    def first(self, expression: tirx.Expr) -> tirx.Expr:
        """An expression of the block's variables at the first step of the chunk."""
        start = {**self.at_start, self.channels.loop_var: _zero(self.channels)}
        return substitute(substitute(expression, self.values), start)

    def tile(self, positions: Sequence[TilePosition]) -> tirx.Expr:
        """The number of the tile."""
        number: tirx.Expr = _zero(self.channels)
        for place in positions:
            number = (
                number + substitute(self.update.iter_values[place.axis], self.at_start) // place.size * place.stride
            )
        return number

    def variables(self, positions: Sequence[TilePosition]) -> list[Var]:
        """The block's variables that tell tiles apart."""
        return [self.update.block.iter_vars[place.axis].var for place in positions]

    def operand(self, positions: Sequence[TilePosition], *, same_for_all: bool) -> TensorLoad | None:
        """The operand that is the same for all tiles, or the one that each tile has for itself."""
        written = [region.source for region in self.update.block.writes]
        loads: list[TensorLoad] = []
        structural_walk(self.update.block.body, (TensorLoad, loads.append))
        variables = self.variables(positions)
        for load in loads:
            if any(load.source.same_as(source) for source in written):
                continue
            moves = any(uses(index, variable) for index in load.indices for variable in variables)
            if moves != same_for_all:
                return load
        return None

    def unrolled(self, axis: int) -> int:
        """Extent of the unrolled loop that an axis' value moves with; 1 where there is none."""
        value = self.update.iter_values[axis]
        unrolled = [loop for loop in self.loops if loop.kind == tirx.ForKind.UNROLLED and uses(value, loop.loop_var)]
        return max((int(loop.extent) for loop in unrolled), default=1)

    def before_chunk(self, statements: Sequence[tirx.Stmt]) -> tirx.Stmt:
        """The body with statements in front of every chunk of channels."""
        sequence = tirx.SeqStmt([*statements, self.channels])
        at = self.channels.loop_var
        return structural_map(self.body, (tirx.For, lambda loop: sequence if loop.loop_var.same_as(at) else loop))


def find_summing_loops(body: tirx.Stmt) -> SummingLoops | None:
    """The first sum below a loop; None where there is none with a loop over channels."""
    loops: list[tirx.For] = []
    updates: list[SBlockRealize] = []
    structural_walk(body, [(tirx.For, loops.append), (SBlockRealize, updates.append)], order="pre")
    update = next((realize for realize in updates if realize.block.name_hint.endswith("_update")), None)
    if update is None:
        return None
    channels = next((loop for loop in reversed(loops) if uses(update.iter_values[-1], loop.loop_var)), None)
    if channels is None:
        return None
    values = dict(zip([axis.var for axis in update.block.iter_vars], update.iter_values, strict=True))
    at_start: dict[Var, tirx.Expr] = {loop.loop_var: _zero(loop) for loop in loops if _is_inside(loop, channels)}
    return SummingLoops(body, update, channels, tuple(loops), values, at_start)


def ask_below(
    sch: Schedule, loop: LoopRV, attribute: str, numbers: Sequence[int], positions: Sequence[TilePosition]
) -> None:
    """Notes on a loop what ``insert_below`` shall do to the sum below it."""
    flat = [number for place in positions for number in (place.axis, place.size, place.stride)]
    sch.annotate(loop, attribute, [len(numbers), *numbers, *flat])


def insert_below(
    func: tirx.PrimFunc,
    attribute: str,
    rewrite: Callable[[SummingLoops, Var, list[int], list[TilePosition]], tirx.Stmt],
) -> tirx.PrimFunc:
    """Rewrites the sum below every loop with a note; before tails are split, so that those are rewritten as well.

    Args:
        func: The function.
        attribute: Of the note, which is taken off.
        rewrite: Takes the sum, the loop's variable, and the numbers and positions of the note.
    """

    def visit(loop: tirx.For) -> tirx.For:
        if attribute not in loop.annotations:
            return loop
        count, *noted = (int(number) for number in loop.annotations[attribute])
        numbers, flat = noted[:count], noted[count:]
        positions = [TilePosition(*flat[i : i + 3]) for i in range(0, len(flat), 3)]
        others = {key: value for key, value in loop.annotations.items() if key != attribute}
        sums = find_summing_loops(loop.body)
        body = loop.body if sums is None else rewrite(sums, loop.loop_var, numbers, positions)
        return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, annotations=others)

    return func.with_body(structural_map(func.body, (tirx.For, visit)))


def prefetch(load: TensorLoad, indices: Sequence[tirx.Expr]) -> tirx.Stmt:
    """Fetches the line of one element of the tensor that ``load`` reads; no address is too far."""
    address = tirx.address_of(tirx.BufferLoad(load.source, list(indices)))
    arguments = (tirx.IntImm("int32", number) for number in (_READ, _INTO_ALL_CACHES, _DATA))
    return tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, *arguments))


def substitute(expression: tirx.Expr, values: dict[Var, tirx.Expr]) -> tirx.Expr:
    """The expression with variables replaced by their values."""
    return structural_map(expression, (Var, lambda variable: values.get(variable, variable)))


def _zero(loop: tirx.For) -> tirx.Expr:
    return tirx.IntImm(loop.loop_var.ty.dtype, 0)


def _is_inside(loop: tirx.For, outer: tirx.For) -> bool:
    found: list[tirx.For] = []
    structural_walk(outer.body, (tirx.For, lambda other: found.append(other) if other.same_as(loop) else None))
    return bool(found)
