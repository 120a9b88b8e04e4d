"""Bindings in front of what is stored: no product, sum or call holds a ``Let``, each value is named once.

    B[i] = x * (let t = f(x) in t + t)      ->  B[i] = let t = f(x) in x * (t + t)
    B[i] = x * if(c, let t = .. in .., 0)   ->  B[i] = let v = if(c, let t = .. in .., 0) in x * v

TVM's vectorizer gives a store up lane by lane once it meets a condition or a call that has no vector form. It may have
visited both sides of a product twice by then, and takes the second visit of a ``Let`` for a variable of two values.
Inlining also copies a ``Let`` with its variable: equal copies become one, others get a variable of their own.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Call, Expr, Var
from tvm_ffi import structural_equal, structural_map, structural_walk

from lepton_compiler.targets.cpu.block_analysis import CONDITION


def hoist_bindings(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Rewrites the value of every store that holds bindings."""

    def rewrite(store: tirx.BufferStore) -> tirx.BufferStore:
        if not _holds_bindings(store.value):
            return store
        return tirx.BufferStore(store.buffer, _Scope({}).close(store.value), store.indices, store.span)

    return func.with_body(structural_map(func.body, (tirx.BufferStore, rewrite)))


def _holds_bindings(value: Expr) -> bool:
    found: list[tirx.Let] = []
    structural_walk(value, (tirx.Let, found.append))
    return bool(found)


class _Scope:
    """What is evaluated together: a stored value, or one side of a condition, which may not run where it is false."""

    def __init__(self, outer: dict[Var, list[tuple[Expr, Var]]]) -> None:
        self._known = {variable: list(copies) for variable, copies in outer.items()}
        self._names: dict[Var, Var] = {}
        self._bindings: list[tuple[Var, Expr]] = []

    def close(self, value: Expr) -> Expr:
        """``value`` behind all bindings that were in it."""
        result = self._without_bindings(value)
        for variable, bound in reversed(self._bindings):
            result = tirx.Let(variable, bound, result)
        return result

    def _without_bindings(self, value: Expr) -> Expr:
        callbacks = [(tirx.Let, self._hoist), (Call, self._enter), (Var, lambda name: self._names.get(name, name))]
        return structural_map(value, callbacks, order="pre")

    def _hoist(self, let: tirx.Let) -> Expr:
        bound = self._without_bindings(let.value)
        outer = self._names.get(let.var)
        self._names[let.var] = self._bind(let.var, bound)
        body = self._without_bindings(let.body)
        if outer is None:
            del self._names[let.var]
        else:
            self._names[let.var] = outer
        return body

    def _bind(self, variable: Var, bound: Expr) -> Var:
        copies = self._known.setdefault(variable, [])
        for value, name in copies:
            if structural_equal(value, bound):
                return name
        name = Var(variable.name, variable.ty)
        copies.append((bound, name))
        self._bindings.append((name, bound))
        return name

    def _enter(self, call: Call) -> Expr:
        """Both sides of a condition are scopes of their own."""
        if getattr(call.op, "name", "") != CONDITION or not _holds_bindings(call):
            return call
        condition = self._without_bindings(call.args[0])
        sides = [self._inner(side) for side in call.args[1:]]
        chosen = tirx.if_then_else(condition, *sides)
        if not any(map(_holds_bindings, sides)):
            return chosen
        name = Var("chosen", call.ty)
        self._bindings.append((name, chosen))
        return name

    def _inner(self, side: Expr) -> Expr:
        scope = _Scope(self._known)
        scope._names = dict(self._names)
        return scope.close(side)
