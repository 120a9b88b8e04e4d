"""NodeTracer: finds the model nodes that a fused group computes.

``FuseOps`` forgets the name of a group's last operator and lets equal groups share one function, so names can't be read
off its result. The tracer numbers the values of the unfused ``main`` by what computes them (value numbering), evaluates
each group on those numbers, and so meets the same values again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.ir import GenericConst

from lepton_compiler.core.errors import InternalError
from lepton_compiler.passes.main_graph import join_names

_SMALL_CONSTANT_ELEMENTS = 64


@dataclass(frozen=True)
class _Value:
    """A numbered value of the unfused ``main``."""

    number: int
    node: str


class NodeTracer:
    """Value numbers of an unfused ``main``.

    Args:
        module: The module before fusion.
    """

    def __init__(self, module: tvm.IRModule) -> None:
        self._by_key: dict[Hashable, list[_Value]] = defaultdict(list)
        self._numbers: dict[relax.Var, Hashable] = {}
        self._params: list[Hashable] = [("param", param.name) for param in module["main"].params]
        self._numbers.update(zip(module["main"].params, self._params, strict=True))
        for number, binding in enumerate(_bindings(module["main"])):
            key = _key(binding.value, self._numbers)
            if not _computes(binding.value):
                self._numbers[binding.var] = key
                continue
            self._by_key[key].append(_Value(number, binding.var.name))
            self._numbers[binding.var] = number

    def group_names(self, grouped: tvm.IRModule) -> dict[relax.Var, str]:
        """Names of the group calls in the ``main`` of ``grouped``, by their variable: ``conv1+bias1+relu1``."""
        names: dict[relax.Var, str] = {}
        numbers: dict[relax.Var, Hashable] = {}
        for old, new in zip(self._params, grouped["main"].params, strict=True):
            numbers[new] = old
        for binding in _bindings(grouped["main"]):
            group = _called_group(grouped, binding.value)
            if group is None:
                numbers[binding.var] = self._number(binding, numbers)[0]
                continue
            arguments = [_key(arg, numbers) for arg in binding.value.args]
            inner = dict(zip(group.params, arguments, strict=True))
            parts = []
            for step in _bindings(group):
                inner[step.var], node = self._number(step, inner)
                parts += [node] if node else []
            names[binding.var] = join_names(*parts)
            numbers[binding.var] = _key(group.body.body, inner)
        return names

    def _number(self, binding: relax.Binding, numbers: dict[relax.Var, Hashable]) -> tuple[Hashable, str | None]:
        key = _key(binding.value, numbers)
        if not _computes(binding.value):
            return key, None
        candidates = self._by_key.get(key)
        if not candidates:
            raise InternalError(f"the fused value {binding.var.name} = {binding.value} is none of the model's nodes")
        # Equal computations of the same inputs have equal numbers but names of their own: each is met once.
        value = candidates.pop(0) if len(candidates) > 1 else candidates[0]
        return value.number, value.node


def _bindings(function: relax.Function) -> Iterator[relax.Binding]:
    for block in function.body.blocks:
        yield from block.bindings


def _computes(value: relax.Expr) -> bool:
    """Whether a binding of ``value`` is a value of its own; other bindings rename one, or assert its shape."""
    return isinstance(value, relax.Call | relax.TupleGetItem)


def _called_group(module: tvm.IRModule, value: relax.Expr) -> relax.Function | None:
    if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar):
        return module[value.op]
    return None


def _key(expr: relax.Expr, numbers: dict[relax.Var, Hashable]) -> Hashable:
    """What computes ``expr``, with variables replaced by their numbers."""
    if isinstance(expr, relax.Var):
        # Symbolic dimensions are renamed inside of a group; kernel and tensors identify a value without them.
        return numbers[expr] if isinstance(expr.ty, relax.TensorType | relax.TupleType) else "scalar"
    if isinstance(expr, GenericConst):
        return _constant_key(expr)
    if isinstance(expr, tvm.ir.GlobalVar):
        return expr.name_hint
    if isinstance(expr, relax.Tuple):
        return tuple(_key(field, numbers) for field in expr.fields)
    if isinstance(expr, relax.TupleGetItem):
        source = _key(expr.tuple_value, numbers)
        return source[expr.index] if isinstance(source, tuple) else ("item", source, expr.index)
    if isinstance(expr, relax.Call):
        operator = expr.op.name if isinstance(expr.op, tvm.ir.Op) else _key(expr.op, numbers)
        return (operator, *(_key(arg, numbers) for arg in expr.args if not isinstance(arg, relax.ShapeExpr)))
    return type(expr).__name__


def _constant_key(constant: GenericConst) -> Hashable:
    array = constant.value
    elements = 1
    for extent in array.shape:
        elements *= int(extent)
    if elements <= _SMALL_CONSTANT_ELEMENTS:
        return ("constant", str(array.dtype), tuple(array.shape), array.numpy().tobytes())
    return ("constant", hash(constant))
