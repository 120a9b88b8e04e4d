"""Results that a kernel may write over one of its operands, proven from the accesses of its scheduled loops.

    y[e] = f(x[e], ...)   for every element e, once   ->   y may have the memory of x

That holds where every store of ``y`` is an iteration of independent axes, where the value that it stores reads of ``x``
the element at the same offset and no other, and where nothing else touches ``x``. Each element is then read for the
last time by the iteration that overwrites it, in whatever order and on whatever threads iterations run. That each runs
once is TVM's own rule: its schedules repeat stages that other stages read, never one that writes a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir.stmt import SBlockRealize

from lepton_compiler.build.dim_expressions import substitute

_MOST_PIECES = 256
"""Iterations of a loop for which a condition is looked at one by one."""

NO_ALIAS = "tirx.noalias"
"""The attribute by which TVM tells LLVM that no two parameters share memory."""


@dataclass(frozen=True)
class OverwriteVerdict:
    """Whether the result ``result`` may take the memory of the operand ``operand``; both are numbers of parameters.

    ``reason`` says why not; None where it may.
    """

    operand: int
    result: int
    reason: str | None


def overwrite_verdicts(function: tirx.PrimFunc) -> tuple[OverwriteVerdict, ...]:
    """A verdict for each pair of operand and result with elements of one width, in the order of parameters.

    Nothing is said of a kernel whose body is no block: it was written by hand, and its loops may do anything.
    """
    if not isinstance(function.body, SBlockRealize):
        return ()
    accesses = _Accesses()
    accesses.visit(function.body.block.body, _Place())
    buffers = {index: param for index, param in enumerate(function.params) if tirx.is_buffer_var(param)}
    results = {index for index, buffer in buffers.items() if accesses.stores_to(buffer)}
    return tuple(
        OverwriteVerdict(operand, result, accesses.objection(buffers[operand], buffers[result]))
        for result in sorted(results)
        for operand in buffers
        if operand not in results and buffers[operand].dtype.bits == buffers[result].dtype.bits
    )


def allow_overwriting(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The kernel without the promise that no two parameters share memory."""
    allowed = function.with_attr(NO_ALIAS, False)
    assert isinstance(allowed, tirx.PrimFunc)
    return allowed


@dataclass(frozen=True)
class _Place:
    """The loops around a statement, and the innermost block that it is in."""

    loops: tuple[tirx.For, ...] = ()
    realize: SBlockRealize | None = None


@dataclass
class _Accesses:
    """Every store with its place, and all that mentions a buffer elsewhere."""

    stores: list[tuple[tirx.BufferStore, _Place]] = field(default_factory=list)
    others: list[object] = field(default_factory=list)

    def visit(self, statement: tirx.Stmt, place: _Place) -> None:
        if isinstance(statement, tirx.SeqStmt):
            for child in statement.seq:
                self.visit(child, place)
        elif isinstance(statement, tirx.For):
            self.others += [statement.min, statement.extent]
            self.visit(statement.body, _Place((*place.loops, statement), place.realize))
        elif isinstance(statement, tirx.IfThenElse):
            self.others.append(statement.condition)
            self.visit(statement.then_case, _Place(_running_loops(place.loops, statement.condition), place.realize))
            if statement.else_case is not None:
                self.visit(statement.else_case, place)
        elif isinstance(statement, SBlockRealize):
            self.others += [*statement.iter_values, statement.predicate, *statement.block.match_buffers]
            inner = _Place(place.loops, statement)
            for part in (statement.block.init, statement.block.body):
                if part is not None:
                    self.visit(part, inner)
        elif isinstance(statement, tirx.BufferStore):
            self.stores.append((statement, place))
        else:
            self.others.append(statement)

    def stores_to(self, buffer: tirx.Buffer) -> list[tuple[tirx.BufferStore, _Place]]:
        return [(store, place) for store, place in self.stores if store.buffer.same_as(buffer)]

    def objection(self, operand: tirx.Buffer, result: tirx.Buffer) -> str | None:
        """Why ``result`` must not lie in the memory of ``operand``; None where it may."""
        if any(_mentions(part, operand) or _mentions(part, result) for part in self.others):
            return "its memory is used in other ways than by loads and stores of single elements"
        for store, place in self.stores:
            if store.buffer.same_as(result):
                reason = _objection_to_store(store, place, operand, result)
                if reason is not None:
                    return reason
            elif _mentions(store, operand):
                return "another stage of the kernel reads it, too"
            elif _mentions(store, result):
                return "the result is read again inside of the kernel"
        return None


def _running_loops(loops: tuple[tirx.For, ...], condition: tirx.Expr) -> tuple[tirx.For, ...]:
    """Those of the loops that run more than once where ``condition`` holds: a partial tile is one piece's alone."""
    return tuple(loop for loop in loops if not _holds_at_most_once(loop, condition))


def _holds_at_most_once(loop: tirx.For, condition: tirx.Expr) -> bool:
    """Whether the condition depends on this loop alone, and holds in one of its iterations or none."""
    if not isinstance(loop.min, tirx.IntImm) or not isinstance(loop.extent, tirx.IntImm):
        return False
    variables: list[tirx.Var] = []
    tvm_ffi.structural_walk(condition, (tirx.Var, variables.append))
    if int(loop.extent) > _MOST_PIECES or any(not variable.same_as(loop.loop_var) for variable in variables):
        return False
    analyzer, first = tvm.sym.Analyzer(), int(loop.min)
    values = [
        analyzer.simplify(substitute(condition, {loop.loop_var: tirx.IntImm(loop.loop_var.ty.dtype, first + step)}))
        for step in range(int(loop.extent))
    ]
    return all(isinstance(value, tirx.IntImm) for value in values) and sum(int(value) for value in values) <= 1


def _objection_to_store(
    store: tirx.BufferStore, place: _Place, operand: tirx.Buffer, result: tirx.Buffer
) -> str | None:
    if not _runs_once(place, store):
        return "an element of the result is written more than once"
    if any(_mentions(index, operand) or _mentions(index, result) for index in store.indices):
        return "it says where the result is written"
    if _mentions(store.value, result):
        return "the result is read again inside of the kernel"
    loads: list[tvm.ir.TensorLoad] = []
    tvm_ffi.structural_walk(store.value, (tvm.ir.TensorLoad, loads.append))
    mine = [load for load in loads if load.source.same_as(operand)]
    if _count(store.value, operand) != len(mine):
        return "its memory is used in other ways than by loads and stores of single elements"
    offset = _offset(result, store.indices)
    analyzer = tvm.sym.Analyzer()
    if offset is None or any(not _is_same(analyzer, _offset(operand, load.indices), offset) for load in mine):
        return "other elements of it are read than the one that is written"
    return None


def _runs_once(place: _Place, store: tirx.BufferStore) -> bool:
    """Whether the store is an iteration of a block with independent axes, and every loop around it moves one."""
    if place.realize is None or not place.realize.block.body.same_as(store):
        return False
    block = place.realize.block
    if block.init is not None or any(axis.iter_type != tirx.IterVar.DataPar for axis in block.iter_vars):
        return False
    return all(
        any(_mentions(value, loop.loop_var) for value in place.realize.iter_values)
        for loop in place.loops
        if not (isinstance(loop.extent, tirx.IntImm) and int(loop.extent) == 1)
    )


def _offset(buffer: tirx.Buffer, indices: Sequence[tirx.Expr]) -> tirx.Expr | None:
    """Number of the element in a dense buffer; None where it is not dense, or something else than an element."""
    if len(buffer.strides) or len(indices) != len(buffer.shape):
        return None
    offset: tirx.Expr = tirx.const(0, "int64")
    for index, dim in zip(indices, buffer.shape, strict=True):
        offset = offset * dim + index
    return offset


def _is_same(analyzer: tvm.sym.Analyzer, a: tirx.Expr | None, b: tirx.Expr) -> bool:
    return a is not None and analyzer.can_prove_equal(a, b)


def _count(part: object, variable: tirx.Var) -> int:
    found: list[tirx.Var] = []
    tvm_ffi.structural_walk(part, (tirx.Var, lambda var: found.append(var) if var.same_as(variable) else None))
    return len(found)


def _mentions(part: object, variable: tirx.Var) -> bool:
    return _count(part, variable) > 0
