"""Tails: what is left of a loop after its last whole tile gets code of its own, so that whole tiles need no condition.

    for t in range(n): [where a * t + b < size] body(t)
      ->  for t in range(whole): body(t)
          for t in range(n - whole): [where ...] body(whole + t)            whole = the t that meet it for every b

Where the loop is one piece of a split one, so that ``b`` holds the number of the piece, at most one tile of one piece
is partial. It is looked for, and its size is known again:

    for t in range(n): [where a * (n * piece + t) + b < size] body(t)
      ->  for t in range(min(n, max(size / a - n * piece, 0))): body(t)
          if 0 <= size / a - n * piece < n: [where a * (size / a) + b < size] body(size / a - n * piece)

TVM's pass LoopPartition does the same from a loop annotation, but NarrowDataType renames the loops of static int64
programs before it runs and the annotation is lost, and it gives up where a parallel loop's variable is part of ``b``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tvm import sym, tirx
from tvm.ir import Var
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.s_tir.schedule import LoopRV
from tvm_ffi import DefRegionKind, structural_map, structural_walk

from lepton_compiler.targets.cpu.block_analysis import uses

_PEEL = "lepton.peel"


def peel_tail(sch: Schedule, tiles: LoopRV) -> None:
    """Marks the outer loop of a split whose factor may not divide the extent; it must not be parallel."""
    sch.annotate(tiles, _PEEL, True)


def split_tails(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Splits every marked loop of a scheduled function into whole tiles and the rest."""
    local = [buffer for buffer in func.body.block.alloc_buffers if buffer.scope() == "local"]
    added: list[Var] = []

    def split(loop: tirx.For) -> tirx.Stmt:
        if _PEEL not in loop.annotations:
            return loop
        bounds = _bounds(loop)
        if not bounds:
            return _loop(loop, loop.extent, loop.body)
        whole = _whole_tiles(loop, bounds)
        if _constant(whole) == 0:
            # Not even an empty loop: TVM refuses to vectorize a body that doesn't depend on its lanes.
            return _rest(loop, whole, None, [])[0]
        partial = _partial_tile(bounds) if _constant(whole) is None else None
        rest, own_buffers = _rest(loop, whole, partial, [*local, *added])
        added.extend(own_buffers)
        return tirx.SeqStmt([_loop(loop, whole, _without_conditions_on(loop.loop_var, loop.body)), rest])

    realize = structural_map(func.body, (tirx.For, split))
    return func.with_body(_with_buffers(realize, added))


@dataclass(frozen=True)
class _Bound:
    """Where a condition ends to hold along a loop.

    Attributes:
        first: The first value of the loop's variable for which it may fail.
        is_single: Whether it fails for all of what follows, so that this iteration alone can be partial, and the extent
            is fixed.
    """

    first: tirx.Expr
    is_single: bool


def _bounds(loop: tirx.For) -> list[_Bound]:
    """The end of each condition on the loop's variable; none where one can't be told."""
    extents = {loop.loop_var: loop.extent}
    conditions: list[tirx.Expr] = []

    def note_extent(inner: tirx.For) -> None:
        extents[inner.loop_var] = inner.extent

    def note_conditions(realize: SBlockRealize) -> None:
        conditions.extend(c for c in _conjuncts(realize.predicate) if uses(c, loop.loop_var))

    structural_walk(loop.body, [(tirx.For, note_extent), (SBlockRealize, note_conditions)])
    bounds = [_bound(condition, loop.loop_var, extents) for condition in conditions]
    known = [bound for bound in bounds if bound is not None]
    return known if len(known) == len(bounds) else []


def _whole_tiles(loop: tirx.For, bounds: Sequence[_Bound]) -> tirx.Expr:
    """Number of iterations for which every condition on the loop's variable holds."""
    whole = loop.extent
    for bound in bounds:
        whole = tirx.min(whole, bound.first)
    return sym.Analyzer().simplify(tirx.max(whole, tirx.IntImm(str(loop.extent.ty.dtype), 0)))


def _partial_tile(bounds: Sequence[_Bound]) -> tirx.Expr | None:
    """The only iteration that can be partial, be it one of the loop's or not; None where there may be several."""
    analyzer = sym.Analyzer()
    first = analyzer.simplify(bounds[0].first)
    alike = all(bound.is_single and analyzer.can_prove_equal(first, bound.first) for bound in bounds)
    return first if alike else None


def _bound(condition: tirx.Expr, variable: Var, extents: dict[Var, tirx.Expr]) -> _Bound | None:
    """Where ``condition`` ends to hold along ``variable``."""
    if not isinstance(condition, tirx.LT):
        return None
    linear = sym.detect_linear_equation(condition.a, list(extents))
    if len(linear) == 0:
        return None
    *coefficients, start = linear
    spread = tirx.IntImm(str(start.ty.dtype), 0)
    for (inner, extent), coefficient in zip(extents.items(), coefficients, strict=True):
        if not isinstance(coefficient, tirx.IntImm) or int(coefficient) < 0:
            return None
        if not inner.same_as(variable):
            spread = spread + coefficient * (extent - 1)
    step = coefficients[list(extents).index(variable)]
    if int(step) <= 0:
        return None
    widest = _constant(spread)
    first = tirx.floordiv(condition.b - start - spread + step - 1, step)
    return _Bound(first, isinstance(condition.b, tirx.IntImm) and widest is not None and widest < int(step))


def _rest(loop: tirx.For, whole: tirx.Expr, partial: tirx.Expr | None, local: list[Var]) -> tuple[tirx.Stmt, list[Var]]:
    """A copy of the loop for the iterations from ``whole`` on, with variables and local buffers of its own.

    Where the only one of them that does anything is known, ``partial``, the copy is no loop.
    """
    fresh: dict[Var, tirx.Expr] = {}
    buffers: list[Var] = []
    extent = sym.Analyzer().simplify(loop.extent - whole)
    is_single = isinstance(extent, tirx.IntImm) and int(extent) == 1
    counter = Var(f"{loop.loop_var.name}_rest", loop.loop_var.ty)
    single = whole if is_single else partial
    fresh[loop.loop_var] = counter + whole if single is None else single

    def renew(variable: Var, kind: DefRegionKind) -> tirx.Expr:
        if variable not in fresh:
            if kind != DefRegionKind.NONE:
                fresh[variable] = Var(variable.name, variable.ty)
            elif any(variable.same_as(buffer) for buffer in local):
                fresh[variable] = Var(f"{variable.name}_rest", variable.ty)
                buffers.append(fresh[variable])
        return fresh.get(variable, variable)

    body = structural_map(loop.body, with_def_region_kind=(Var, renew))
    if is_single:
        return _narrow_vectors(body), buffers
    if single is not None:
        there = tirx.all(single >= 0, single < loop.extent)
        return tirx.IfThenElse(there, _narrow_vectors(_with_known_places(body)), None), buffers
    return tirx.For(counter, loop.min, extent, loop.kind, body, annotations=_other_annotations(loop)), buffers


def _with_known_places(body: tirx.Stmt) -> tirx.Stmt:
    """Simplifies conditions and places, from which the number of the piece drops out."""
    analyzer = sym.Analyzer()

    def simplify(realize: SBlockRealize) -> SBlockRealize:
        values = [analyzer.simplify(value) for value in realize.iter_values]
        return SBlockRealize(values, analyzer.simplify(realize.predicate), realize.block)

    return structural_map(body, (SBlockRealize, simplify))


def _narrow_vectors(body: tirx.Stmt) -> tirx.Stmt:
    """Replaces a condition on a vector's lanes by a vector of just the lanes that meet it."""
    extents: dict[Var, tirx.Expr] = {}
    structural_walk(body, (tirx.For, lambda loop: extents.update({loop.loop_var: loop.extent})))

    def narrow(loop: tirx.For) -> tirx.For:
        if loop.kind != tirx.ForKind.VECTORIZED:
            return loop
        bounds = set()

        def note_bounds(realize: SBlockRealize) -> None:
            for condition in _conjuncts(realize.predicate):
                if uses(condition, loop.loop_var):
                    others = [v for v in extents if not v.same_as(loop.loop_var) and uses(condition, v)]
                    fixed = all(isinstance(extents[v], tirx.IntImm) and int(extents[v]) == 1 for v in others)
                    bound = _bound(condition, loop.loop_var, {v: extents[v] for v in (loop.loop_var, *others)})
                    bounds.add(_constant(bound.first) if fixed and bound is not None else None)

        structural_walk(loop.body, (SBlockRealize, note_bounds))
        if not bounds or None in bounds or not 0 < min(bounds) <= int(loop.extent) or len(bounds) > 1:
            return loop
        width = tirx.IntImm(str(loop.extent.ty.dtype), min(bounds))
        return _loop(loop, width, _without_conditions_on(loop.loop_var, loop.body))

    return structural_map(body, (tirx.For, narrow))


def _constant(expression: tirx.Expr) -> int | None:
    simplified = sym.Analyzer().simplify(expression)
    return int(simplified) if isinstance(simplified, tirx.IntImm) else None


def _without_conditions_on(variable: Var, body: tirx.Stmt) -> tirx.Stmt:
    """Drops the conditions that whole tiles meet by construction."""

    def drop(realize: SBlockRealize) -> SBlockRealize:
        kept = [c for c in _conjuncts(realize.predicate) if not uses(c, variable)]
        predicate = tirx.all(*kept) if kept else tirx.IntImm("bool", 1)
        return SBlockRealize(realize.iter_values, predicate, realize.block)

    return structural_map(body, (SBlockRealize, drop))


def _conjuncts(condition: tirx.Expr) -> Iterator[tirx.Expr]:
    if isinstance(condition, tirx.And):
        yield from _conjuncts(condition.a)
        yield from _conjuncts(condition.b)
    else:
        yield condition


def _loop(loop: tirx.For, extent: tirx.Expr, body: tirx.Stmt) -> tirx.For:
    return tirx.For(loop.loop_var, loop.min, extent, loop.kind, body, annotations=_other_annotations(loop))


def _other_annotations(loop: tirx.For) -> dict[str, object]:
    return {key: value for key, value in loop.annotations.items() if key != _PEEL}


def _with_buffers(realize: SBlockRealize, added: list[Var]) -> SBlockRealize:
    root = realize.block
    block = SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        root.body,
        root.init,
        [*root.alloc_buffers, *added],
        root.match_buffers,
        root.annotations,
    )
    return SBlockRealize(realize.iter_values, realize.predicate, block)
