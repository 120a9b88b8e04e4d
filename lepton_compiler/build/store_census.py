"""Every store of a PrimFunc, with the loops around it, the operations behind it and the elements that it loads.

The function is read as fusion left it, before any schedule: there each loop is one axis of what the model computes, and
nothing is padded to a tile or computed twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir.stmt import SBlock, SBlockRealize

from lepton_compiler.targets.cpu.bfloat16 import is_pair_product

_PAIR_OPERATIONS = 3
"""Two multiplications and an addition; the sum that they are added to is one more."""
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod, tirx.Min, tirx.Max)


@dataclass(frozen=True)
class Loop:
    """One loop: its variable, its number of iterations, and whether its iterations add into the same element."""

    variable: tirx.Var
    extent: tirx.Expr
    is_reduction: bool = False


@dataclass(frozen=True)
class StoreWork:
    """What one store does in each iteration of its loops.

    Attributes:
        buffer: Where it writes.
        loops: The loops around it, outermost first.
        operations: Operations on tensors' values. A multiply-add is two, a function call and a choice are one. An
            elementwise stage counts as one, whatever its expression: how many instructions an ``exp`` takes is no
            property of the model.
        loads: How many elements it loads of each buffer, those in indices included.
        is_stage: Whether the loops are the axes of a tensor expression; else they were written by hand.
        multiplies_pairs: Whether it sums up products of pairs of bfloat16.
    """

    buffer: tirx.Buffer
    loops: tuple[Loop, ...]
    operations: int
    loads: tuple[tuple[tirx.Buffer, int], ...]
    is_stage: bool
    multiplies_pairs: bool = False


class UncountableError(Exception):
    """A function holds a loop whose iterations nobody knows beforehand, or a statement that is not arithmetic."""


def stores_of(function: tirx.PrimFunc) -> list[StoreWork]:
    """All stores in program order; of an ``if`` both branches, as if each ran.

    Raises:
        UncountableError: There is a ``while`` loop, or a statement that is neither loop, store nor binding.
    """
    return list(_Census().visit(function.body, _Place()))


@dataclass(frozen=True)
class _Place:
    """Where a statement stands: the loops around it, and the innermost block that has axes."""

    loops: tuple[Loop, ...] = ()
    block: SBlock | None = None

    def inside(self, loop: Loop) -> _Place:
        return replace(self, loops=(*self.loops, loop))


@dataclass
class _Census:
    """Walks statements; variables that were bound to something read from a tensor stand for data."""

    data: set[tirx.Var] = field(default_factory=set)

    def visit(self, statement: tirx.Stmt, place: _Place) -> Iterator[StoreWork]:
        if isinstance(statement, tirx.SeqStmt):
            for child in statement.seq:
                yield from self.visit(child, place)
        elif isinstance(statement, tirx.For):
            yield from self.visit(statement.body, place.inside(Loop(statement.loop_var, statement.extent)))
        elif isinstance(statement, SBlockRealize):
            yield from self.visit(statement.block.body, _entered(statement, place))
        elif isinstance(statement, tirx.IfThenElse):
            yield from self.visit(statement.then_case, place)
            if statement.else_case is not None:
                yield from self.visit(statement.else_case, place)
        elif isinstance(statement, tirx.BufferStore):
            yield self._store(statement, place)
        elif isinstance(statement, tirx.Bind):
            if self._operations(statement.value)[1]:
                self.data.add(statement.var)
        elif isinstance(statement, tirx.AttrStmt):
            yield from self.visit(statement.body, place)
        elif not isinstance(statement, (tirx.AllocBuffer, tirx.DeclBuffer, tirx.AssertStmt)):
            raise UncountableError(f"{type(statement).__name__} has no known number of operations")

    def _store(self, store: tirx.BufferStore, place: _Place) -> StoreWork:
        operations, _ = self._operations(store.value)
        is_stage = place.block is not None
        if is_stage and not any(loop.is_reduction for loop in place.loops):
            operations = min(operations, 1)
        loads: Counter[tirx.Buffer] = Counter()
        for part in (store.value, *store.indices):
            tvm_ffi.structural_walk(part, (tvm.ir.TensorLoad, lambda load: loads.update([load.source])))
        multiplies_pairs = _has_pair_product(store.value)
        return StoreWork(store.buffer, place.loops, operations, tuple(loads.items()), is_stage, multiplies_pairs)

    def _operations(self, value: tirx.Expr) -> tuple[int, bool]:
        """Number of operations in ``value`` that depend on tensors, and whether ``value`` itself does."""
        if isinstance(value, tvm.ir.TensorLoad):
            return 0, True
        if isinstance(value, tirx.Var):
            return 0, value in self.data
        if isinstance(value, tirx.Let):
            inner, is_data = self._operations(value.value)
            if is_data:
                self.data.add(value.var)
            outer, depends = self._operations(value.body)
            return inner + outer, depends
        choice = _choice(value)
        if choice is not None:
            return self._choose(*choice)
        parts = [self._operations(part) for part in _operands(value)]
        depends = any(is_data for _, is_data in parts)
        own = int(depends and isinstance(value, (*_ARITHMETIC, tvm.ir.Call)))
        if is_pair_product(value):
            own = _PAIR_OPERATIONS
        return own + sum(count for count, _ in parts), depends

    def _choose(self, condition: tirx.Expr, true: tirx.Expr, false: tirx.Expr) -> tuple[int, bool]:
        """A choice by position costs nothing, one by value is one operation; one of the two branches is computed."""
        _, by_value = self._operations(condition)
        branches = [self._operations(branch) for branch in (true, false)]
        return max(count for count, _ in branches) + int(by_value), by_value or any(flag for _, flag in branches)


def _entered(realize: SBlockRealize, place: _Place) -> _Place:
    """The place inside of a block: loops that are bound to its reduction axes become reductions."""
    reduced: set[tirx.Var] = set()
    for axis, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if axis.iter_type == tirx.IterVar.CommReduce:
            tvm_ffi.structural_walk(value, (tirx.Var, reduced.add))
    loops = tuple(replace(loop, is_reduction=loop.is_reduction or loop.variable in reduced) for loop in place.loops)
    return _Place(loops, realize.block if len(realize.block.iter_vars) else place.block)


def _has_pair_product(value: tirx.Expr) -> bool:
    found: list[tvm.ir.Call] = []
    tvm_ffi.structural_walk(value, (tvm.ir.Call, lambda call: found.append(call) if is_pair_product(call) else None))
    return bool(found)


def _choice(value: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr, tirx.Expr] | None:
    if isinstance(value, tirx.Select):
        return value.condition, value.true_value, value.false_value
    if isinstance(value, tvm.ir.Call) and getattr(value.op, "name", "") == "prim.if_then_else":
        condition, true, false = value.args
        return condition, true, false
    return None


def _operands(value: tirx.Expr) -> list[tirx.Expr]:
    if isinstance(value, tvm.ir.Call):
        return [argument for argument in value.args if isinstance(argument, tirx.Expr)]
    if isinstance(value, (tirx.Cast, tirx.Broadcast)):
        return [value.value]
    return [part for part in (getattr(value, "a", None), getattr(value, "b", None)) if part is not None]
