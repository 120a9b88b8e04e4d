"""EliminateTransposePairs: transposes that undo each other vanish, also with elementwise operators between them.

    permute_dims(permute_dims(x, p), q)         ->   permute_dims(x, p[q]), or x where that is the identity
    permute_dims(relu(permute_dims(x, p)), q)   ->   relu(x)                where p[q] is the identity
    permute_dims(permute_dims(x, p) + c, q)     ->   x + permute_dims(c, q) where c is a constant

The second transpose is pushed up towards the inputs; the rewrite is made only where it meets its inverse, or a
constant, on every way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import tvm
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.canonicalize.elementwise_operators import ELEMENTWISE
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec

_Axes = tuple[int, ...]


@dataclass(frozen=True)
class EliminateTransposePairs(Pass):
    """Removes pairs of transposes that undo each other around elementwise operators."""

    max_operators: int = 64
    """Most elementwise operators between the two transposes."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Looks at every transpose as the second of a pair."""

        def eliminate(graph: MainGraph, node: Node) -> Replacement | Decline | None:
            if node.operator != "relax.permute_dims":
                return None
            return _Pair(graph, node, self.max_operators).eliminate()

        return rewrite_main(module, eliminate)


def _axes_of(call: relax.Call) -> _Axes:
    if call.attrs.axes is None:
        return tuple(range(call.args[0].ty.ndim))[::-1]
    return tuple(int(axis) for axis in call.attrs.axes)


def _composed(first: _Axes, second: _Axes) -> _Axes:
    """The permutation that does ``first``, then ``second``."""
    return tuple(first[axis] for axis in second)


def _is_identity(axes: _Axes) -> bool:
    return axes == tuple(range(len(axes)))


class _BlockedError(Exception):
    """The transpose can't be pushed further; the message says what is in the way."""


class _Pair:
    """A transpose that may be the second of a pair, and the way up from it."""

    def __init__(self, graph: MainGraph, node: Node, max_operators: int) -> None:
        self._graph = graph
        self._node = node
        self._axes = _axes_of(node.value)
        self._max_operators = max_operators
        self._reads = Counter[relax.Var]()
        self._pushed_of: dict[relax.Var, relax.Expr] = {}
        self._found = False

    def eliminate(self) -> Replacement | Decline | None:
        """The rewrite, the reason why not, or None where no other transpose is near."""
        source = self._node.args[0]
        first = self._graph.definition(source)
        if first is None:
            return None
        if operator_name(first) == "relax.permute_dims":
            return self._merge(source, first)
        if operator_name(first) not in ELEMENTWISE:
            return None
        try:
            self._collect(source)
            self._check_readers()
        except _BlockedError as blocked:
            return Decline(self._node.name, str(blocked))
        if not self._found:
            return None
        return Replacement(self._pushed(source), f"undoes a transpose above {source.name}: both removed")

    def _merge(self, source: relax.Var, first: relax.Call) -> Replacement:
        axes = _composed(_axes_of(first), self._axes)
        if _is_identity(axes):
            return Replacement(first.args[0], f"undoes {source.name}: removed")
        return Replacement(relax.op.permute_dims(first.args[0], list(axes)), f"merged with {source.name}")

    def _collect(self, expr: relax.Expr) -> None:
        """Walks up from ``expr`` to transposes and constants, counting how often each value between is read.

        Raises:
            _BlockedError: Something on the way is neither elementwise, nor a constant, nor the inverse transpose.
        """
        if array_of(expr) is not None:
            return
        value = self._graph.definition(expr)
        name = operator_name(value) if value is not None else None
        if name == "relax.permute_dims":
            if not _is_identity(_composed(_axes_of(value), self._axes)):
                raise _BlockedError(f"{expr.name} above it is not its inverse")
            self._found = True
            return
        if name not in ELEMENTWISE:
            raise _BlockedError(f"{expr.name} above it is neither elementwise nor a transpose")
        self._reads[expr] += 1
        if self._reads[expr] > 1:
            return
        if len(self._reads) > self._max_operators:
            raise _BlockedError(f"more than {self._max_operators} operators lie between it and the transposes above")
        for arg in value.args:
            if self._has_dimensions(arg):
                self._collect(arg)

    def _check_readers(self) -> None:
        for var, reads in self._reads.items():
            if self._graph.readers(var) > reads:
                raise _BlockedError(f"{var.name} between the transposes is read by other nodes too")

    def _has_dimensions(self, arg: relax.Expr) -> bool:
        """Whether the argument is a tensor with dimensions to permute."""
        if not isinstance(arg.ty, relax.TensorType):
            return False
        if arg.ty.ndim not in (0, len(self._axes)) and array_of(arg) is None:
            raise _BlockedError(f"{arg.name} above it has fewer dimensions and is broadcast")
        return arg.ty.ndim > 0

    def _pushed(self, expr: relax.Expr) -> relax.Expr:
        """``permute_dims(expr, axes)`` without the transposes, for what ``_collect`` has let through."""
        array = array_of(expr)
        if array is not None:
            full = array.reshape((1,) * (len(self._axes) - array.ndim) + array.shape)
            return constant(full.transpose(self._axes))
        if expr not in self._pushed_of:
            value = self._graph.definition(expr)
            if operator_name(value) == "relax.permute_dims":
                return value.args[0]
            args = [self._pushed(arg) if self._has_dimensions(arg) else arg for arg in value.args]
            self._pushed_of[expr] = self._graph.emit(expr.name, relax.Call(value.op, args, value.attrs, value.ty_args))
        return self._pushed_of[expr]
