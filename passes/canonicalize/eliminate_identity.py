"""EliminateIdentity: operators that give back their input are skipped.

    reshape(x, shape of x), permute_dims(x, 0 1 2), astype(x, dtype of x)   ->   x
    x + 0, x - 0, x * 1, x / 1, x ** 1                                      ->   x
    concat([x]), split(x, 1), pad(x, 0), slice(x, all), tile(x, 1)        ->   x
    dropout(x).0                                                            ->   x
    astype(astype(x, wider), dtype of x)                                    ->   x

Floating-point results stay equal bit by bit: ``x + (+0.0)`` turns -0.0 into +0.0, so it goes only where x is known not
to be -0.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of
from lepton_compiler.passes.canonicalize.linear_operators import is_linear
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.passes.relax_expressions import same_type
from lepton_compiler.targets.spec import TargetSpec

_SAME_SHAPE_IS_IDENTITY = {"relax.reshape", "relax.broadcast_to", "relax.tile", "relax.repeat", "relax.split"}
_NEVER_NEGATIVE_ZERO = {"relax.abs", "relax.exp", "relax.sigmoid", "relax.nn.softmax", "relax.sum"}
_MANTISSA_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


@dataclass(frozen=True)
class EliminateIdentity(Pass):
    """Skips operators that give back their input unchanged."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Skips every operator that provably changes neither shape, dtype nor a bit of its input."""
        return rewrite_main(module, _skip)


def _skip(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    outcome = _unchanged_input(graph, node)
    if outcome is None or isinstance(outcome, Decline):
        return outcome
    if not same_type(outcome.ty, node.var.ty):
        return Decline(node.name, f"it broadcasts {outcome.ty} to {node.var.ty}")
    return Replacement(outcome, f"{_short_name(graph, node)} gives back its input: skipped")


def _short_name(graph: MainGraph, node: Node) -> str:
    value = graph.definition(node.value.tuple_value) if isinstance(node.value, relax.TupleGetItem) else node.value
    return (operator_name(value) or "").removeprefix("relax.").removeprefix("nn.")


def _unchanged_input(graph: MainGraph, node: Node) -> relax.Expr | Decline | None:
    """The input that the node gives back if their types agree; a reason where only its bits might differ."""
    if isinstance(node.value, relax.TupleGetItem):
        return _of_tuple(graph, node.value)
    name = node.operator
    if name in _ARITHMETIC:
        return _ARITHMETIC[name](graph, node)
    if name in _SAME_SHAPE_IS_IDENTITY:
        return node.args[0] if same_type(node.args[0].ty, node.var.ty) else None
    if name == "relax.astype":
        return _of_cast(graph, node)
    if name == "relax.permute_dims":
        axes = node.value.attrs.axes
        return node.args[0] if axes is not None and [int(a) for a in axes] == list(range(len(axes))) else None
    if name == "relax.concat":
        return (
            node.args[0].fields[0] if isinstance(node.args[0], relax.Tuple) and len(node.args[0].fields) == 1 else None
        )
    if name == "relax.nn.pad":
        return node.args[0] if all(int(width) == 0 for width in node.value.attrs.pad_width) else None
    if name == "relax.strided_slice":
        forward = len(node.args) < 5 or all(_is_one(step) for step in node.args[4])
        return node.args[0] if forward and same_type(node.args[0].ty, node.var.ty) else None
    return None


def _of_tuple(graph: MainGraph, item: relax.TupleGetItem) -> relax.Expr | None:
    source = graph.definition(item.tuple_value)
    is_dropout = source is not None and operator_name(source) == "relax.nn.dropout"
    return source.args[0] if is_dropout and item.index == 0 else None


def _of_cast(graph: MainGraph, node: Node) -> relax.Expr | None:
    source = node.args[0]
    if same_type(source.ty, node.var.ty):
        return source
    inner = graph.definition(source)
    if inner is None or operator_name(inner) != "relax.astype" or not same_type(inner.args[0].ty, node.var.ty):
        return None
    return inner.args[0] if _holds_all_values(str(source.ty.dtype), str(node.var.ty.dtype)) else None


def _holds_all_values(wide: str, narrow: str) -> bool:
    """Whether a cast to ``wide`` loses no value of type ``narrow``."""
    if wide in _MANTISSA_BITS and narrow in _MANTISSA_BITS:
        # Between 16-bit types the mantissa decides nothing: float16 lacks bfloat16's exponents.
        return _MANTISSA_BITS[wide] > _MANTISSA_BITS[narrow] and (wide, narrow) != ("float16", "bfloat16")
    if wide in _MANTISSA_BITS or narrow in _MANTISSA_BITS or not wide.startswith(("int", "uint")):
        return False
    return bool(narrow.startswith(("int", "uint", "bool")) and np.can_cast(narrow, wide, "safe"))


def _sum(graph: MainGraph, node: Node) -> relax.Expr | Decline | None:
    for value, zero in (node.args, node.args[::-1]):
        array = array_of(zero)
        if array is None or array.any():
            continue
        if not _is_float(array) or np.signbit(array.astype(np.float64)).all() or _never_negative_zero(graph, value):
            return value
        return Decline(node.name, "adding +0.0 turns -0.0 into +0.0, and its input may hold -0.0")
    return None


def _difference(graph: MainGraph, node: Node) -> relax.Expr | None:
    array = array_of(node.args[1])
    if array is None or array.any() or (_is_float(array) and np.signbit(array.astype(np.float64)).any()):
        return None
    return node.args[0]


def _product(graph: MainGraph, node: Node) -> relax.Expr | None:
    for value, one in (node.args, node.args[::-1]):
        array = array_of(one)
        if array is not None and (array == 1).all():
            return value
    return None


def _second_is_one(graph: MainGraph, node: Node) -> relax.Expr | None:
    array = array_of(node.args[1])
    return node.args[0] if array is not None and (array == 1).all() else None


_ARITHMETIC: dict[str, Callable[[MainGraph, Node], relax.Expr | Decline | None]] = {
    "relax.add": _sum,
    "relax.subtract": _difference,
    "relax.multiply": _product,
    "relax.divide": _second_is_one,
    "relax.power": _second_is_one,
}


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind not in "iub"


def _is_one(step: object) -> bool:
    return isinstance(step, tvm.tirx.IntImm) and int(step) == 1


def _never_negative_zero(graph: MainGraph, expr: relax.Expr) -> bool:
    """Sums that start at +0.0 and functions of positive range never give -0.0."""
    value = graph.definition(expr)
    return value is not None and (is_linear(value) or operator_name(value) in _NEVER_NEGATIVE_ZERO)
