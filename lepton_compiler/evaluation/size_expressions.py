"""Sizes in the manifest that depend on the model's symbols, such as ``"batch * 14336 + 64"``, for given symbols."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

from lepton_compiler.core.manifest import TensorEntry

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    # Sizes are positive, for which truncation is the same.
    ast.Div: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[[int, int], int]] = {"min": min, "max": max}
_LONGEST_TEXT = 10_000
"""Far longer than any size of a kernel; Python's parser takes memory in proportion, and a manifest is not trusted."""


def symbol_sizes(inputs: Sequence[TensorEntry], shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The size of each symbol where the inputs have these shapes."""
    return {
        dim: size
        for entry in inputs
        for dim, size in zip(entry.shape, shapes[entry.name], strict=True)
        if isinstance(dim, str)
    }


def evaluate_size(size: int | str | None, symbols: Mapping[str, int]) -> int | None:
    """The number that a size of the manifest is.

    Returns:
        None where ``size`` is None, or is written with something else than whole numbers, ``+ - * / // %``, ``min``,
        ``max`` and the symbols, or with a symbol whose name is no plain word.
    """
    if size is None or isinstance(size, int):
        return size
    # A symbol may be called "past + 1", which would be read as a sum.
    if len(size) > _LONGEST_TEXT or any(name in size for name in symbols if not name.isidentifier()):
        return None
    try:
        return _evaluate(ast.parse(size, mode="eval").body, symbols)
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr, symbols: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            return symbols[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, symbols)
        case ast.BinOp(left=left, op=kind, right=right):
            return _OPERATORS[type(kind)](_evaluate(left, symbols), _evaluate(right, symbols))
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]):
            return _FUNCTIONS[name](_evaluate(left, symbols), _evaluate(right, symbols))
    raise ValueError(f"no size is written like {ast.dump(node)}")
