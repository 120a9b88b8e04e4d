"""hoist_bindings: where bindings end up, which copies become one, and that the vectorizer takes the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import te, tirx
from tvm.ir import Var
from tvm_ffi import structural_walk

from lepton_compiler.targets.cpu.hoist_bindings import hoist_bindings
from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.registry import native_target

SIZE = 20
RNG = np.random.default_rng(3)


def _function(value: Callable[[te.Tensor, tirx.Var], tirx.Expr]) -> tirx.PrimFunc:
    data = te.placeholder((SIZE,), "float32", name="data")
    return te.create_prim_func([data, te.compute((SIZE,), lambda i: value(data, i), name="result")])


def _square(value: tirx.Expr, variable: Var | None = None) -> tirx.Expr:
    name = Var("t", value.ty) if variable is None else variable
    return tirx.Let(name, value, name * name)


def _stored(function: tirx.PrimFunc) -> tirx.Expr:
    stores: list[tirx.BufferStore] = []
    structural_walk(function.body, (tirx.BufferStore, stores.append))
    (store,) = stores
    return store.value


def _split(value: tirx.Expr) -> tuple[list[tirx.Expr], tirx.Expr]:
    """What is bound in front of ``value``, and the rest."""
    bound = []
    while isinstance(value, tirx.Let):
        bound.append(value.value)
        value = value.body
    return bound, value


def _run(function: tirx.PrimFunc, data: np.ndarray) -> np.ndarray:
    spec = native_target()
    scheduled = schedule_function(function, spec).func.with_attr("global_symbol", "main")
    library = tvm.tirx.build(tvm.IRModule({"main": scheduled}), tvm.target.Target(spec.llvm_target()))
    output = tvm.runtime.empty(data.shape, "float32")
    library["main"](tvm.runtime.tensor(data), output)
    return output.numpy()


def _count(value: tirx.Expr) -> int:
    found: list[tirx.Let] = []
    structural_walk(value, (tirx.Let, found.append))
    return len(found)


def test_bindings_come_in_the_order_in_which_they_are_needed() -> None:
    function = _function(lambda data, i: data(i) * _square(_square(data(i) + 1.0) + 2.0))
    bound, rest = _split(_stored(hoist_bindings(function)))
    assert [_count(value) for value in bound] == [0, 0]
    assert _count(rest) == 0 and isinstance(rest, tirx.Mul)
    x = RNG.normal(size=SIZE).astype(np.float32)
    np.testing.assert_allclose(_run(function, x), x * ((x + 1) ** 2 + 2) ** 2, rtol=1e-6)


def test_equal_copies_become_one_and_others_get_their_own_variable() -> None:
    shared = Var("t", tvm.ir.PrimType("float32"))

    def value(data: te.Tensor, i: tirx.Var) -> tirx.Expr:
        mirrored = data(SIZE - 1 - i)
        return _square(data(i), shared) + _square(data(i), shared) * _square(mirrored, shared)

    function = _function(value)
    bound, _ = _split(_stored(hoist_bindings(function)))
    assert len(bound) == 2
    x = RNG.normal(size=SIZE).astype(np.float32)
    np.testing.assert_allclose(_run(hoist_bindings(function), x), x**2 + x**2 * x[::-1] ** 2, rtol=1e-6)


def test_a_side_of_a_condition_keeps_its_bindings() -> None:
    """The other side may read what is not there."""

    def value(data: te.Tensor, i: tirx.Var) -> tirx.Expr:
        return data(i) * tirx.if_then_else(i < SIZE - 3, _square(data(i + 3)), tirx.const(1.0, "float32"))

    function = _function(value)
    (chosen,), rest = _split(_stored(hoist_bindings(function)))
    assert _count(chosen) == 1 and _count(rest) == 0
    x = RNG.normal(size=SIZE).astype(np.float32)
    expected = x * np.concatenate([x[3:] ** 2, np.ones(3, np.float32)])
    np.testing.assert_allclose(_run(function, x), expected, rtol=1e-6)


def test_a_product_that_the_vectorizer_gives_up() -> None:
    def value(data: te.Tensor, i: tirx.Var) -> tirx.Expr:
        moved = tirx.if_then_else(i < 5, data(i + 1), data(i - 5))
        return moved * tirx.tanh(moved)

    x = RNG.normal(size=SIZE).astype(np.float32)
    moved = np.concatenate([x[1:6], x[: SIZE - 5]])
    np.testing.assert_allclose(_run(_function(value), x), moved * np.tanh(moved), rtol=2e-6)


def test_a_store_without_bindings_stays_as_it_is() -> None:
    function = _function(lambda data, i: data(i) * 2.0)
    tvm.ir.assert_structural_equal(hoist_bindings(function), function)
