"""MatMul, Gemm, Einsum, and their com.microsoft relatives FusedMatMul and FusedGemm."""

from __future__ import annotations

import numpy as np
from tvm import relax

from lepton_compiler.frontend.conversion import (
    Conversion,
    ConversionError,
    Size,
    dtype_of,
    rank_of,
    shape_of,
    tensor_constant,
)
from lepton_compiler.frontend.operators.activation_functions import apply_activation, scalar
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.operators.wide_sums import in_float32


@converter("MatMul")
def matmul(conversion: Conversion) -> relax.Expr:
    """``a @ b`` with NumPy's broadcasting."""
    return multiply_matrices(conversion, conversion.tensor(0), conversion.tensor(1))


def multiply_matrices(conversion: Conversion, a: relax.Expr, b: relax.Expr, out_dtype: str | None = None) -> relax.Expr:
    """``a @ b``; symbolic sizes that must be equal and aren't known to be are checked at run time.

    Args:
        conversion: The node.
        a: The left side, bound.
        b: The right side, bound.
        out_dtype: Element type of sums and result, where the sides' own is not meant.
    """
    left, right = shape_of(a), shape_of(b)
    depth = -2 if len(right) > 1 else -1
    if isinstance(left[-1], int):
        right[depth] = left[-1]
    else:
        left[-1] = right[depth]
    for axis in range(-min(len(left), len(right)), -2):
        if left[axis] != 1 and right[axis] != 1:
            right[axis] = left[axis]
    a, b = conversion.with_shape(a, left), conversion.with_shape(b, right)
    return product(a, b) if out_dtype is None else relax.op.matmul(a, b, out_dtype)


def product(a: relax.Expr, b: relax.Expr) -> relax.Expr:
    """``a @ b``; sums of 16-bit floats are kept in 32 bits, as every other runtime does."""
    dtype = dtype_of(a)
    if dtype not in ("float16", "bfloat16"):
        return relax.op.matmul(a, b)
    return relax.op.astype(relax.op.matmul(a, b, "float32"), dtype)


@converter("Gemm")
def gemm(conversion: Conversion) -> relax.Expr:
    """``alpha * a' @ b' + beta * c``, each of a and b transposed on request."""
    a = _matrix(conversion, 0, bool(conversion.attribute("transA", 0)))
    b = _matrix(conversion, 1, bool(conversion.attribute("transB", 0)))
    alpha, beta = conversion.attribute("alpha", 1.0), conversion.attribute("beta", 1.0)
    result = multiply_matrices(conversion, a, b)
    if alpha != 1.0:
        result = relax.op.multiply(result, scalar(alpha, a))
    if not conversion.has(2) or beta == 0.0:
        return result
    result, addend = conversion.emit(result), conversion.emit(_scaled(conversion, 2, beta))
    return relax.op.add(result, _like(conversion, addend, shape_of(result)))


@converter("FusedGemm", domain="com.microsoft")
def fused_gemm(conversion: Conversion) -> relax.Expr:
    """Gemm with an activation."""
    result = conversion.emit(gemm(conversion))
    parameters = [conversion.attribute(f"activation_{name}") for name in ("alpha", "beta", "gamma")
                  if f"activation_{name}" in conversion.attributes]  # fmt: skip
    return apply_activation(conversion.attribute("activation"), result, parameters)


@converter("FusedMatMul", "TransposeMatMul", domain="com.microsoft")
def fused_matmul(conversion: Conversion) -> relax.Expr:
    """``alpha * a' @ b'``; ``transBatchA`` moves the first axis in front of the last."""
    a = _stack(conversion, 0, "A")
    b = _stack(conversion, 1, "B")
    result = multiply_matrices(conversion, a, b)
    alpha = conversion.attribute("alpha", 1.0)
    return result if alpha == 1.0 else relax.op.multiply(result, scalar(alpha, a))


@converter("Einsum")
@in_float32
def einsum(conversion: Conversion) -> relax.Expr:
    """Sums of products over named axes."""
    equation = conversion.attribute("equation").replace(" ", "")
    tensors = conversion.tensors()
    return relax.op.einsum(relax.Tuple(_aligned(conversion, tensors, equation)), equation)


def _aligned(conversion: Conversion, tensors: list[relax.Expr], equation: str) -> list[relax.Expr]:
    """The operands, in which axes of one letter have one size; symbolic sizes are checked at run time."""
    sizes: dict[str, Size] = {}
    for term, tensor in zip(equation.split("->")[0].split(","), tensors, strict=True):
        for letter, size in _letters(term, tensor):
            known = sizes.get(letter, 1)
            if isinstance(size, int) and isinstance(known, int) and 1 not in (size, known) and size != known:
                raise ConversionError(f"axes of the letter {letter} have the sizes {known} and {size}")
            if letter not in sizes or sizes[letter] == 1 or (isinstance(size, int) and size != 1):
                sizes[letter] = size
    aligned = []
    for term, tensor in zip(equation.split("->")[0].split(","), tensors, strict=True):
        wanted = shape_of(tensor)
        for axis, (letter, size) in enumerate(_letters(term, tensor)):
            wanted[axis] = size if isinstance(size, int) else sizes[letter]
        aligned.append(conversion.with_shape(tensor, wanted))
    return aligned


def _letters(term: str, tensor: relax.Expr) -> list[tuple[str, Size]]:
    """The name and size of every axis of an operand; those behind an ellipsis are counted from its end."""
    shape = shape_of(tensor)
    head, dots, tail = term.partition("...")
    hidden = len(shape) - len(head) - len(tail) if dots else 0
    names = [*head, *(f"...{hidden - i}" for i in range(hidden)), *tail]
    return list(zip(names, shape, strict=True))


def _matrix(conversion: Conversion, index: int, transposed: bool) -> relax.Expr:
    """Input ``index``; a constant is transposed here, so that no kernel does it at run time."""
    if not transposed:
        return conversion.tensor(index)
    value = conversion.inputs[index]
    if isinstance(value, np.ndarray):
        return tensor_constant(value.T)
    return conversion.emit(relax.op.permute_dims(conversion.tensor(index), [1, 0]))


def _like(conversion: Conversion, addend: relax.Expr, shape: list[Size]) -> relax.Expr:
    """A bound tensor that broadcasts to ``shape``; its symbolic sizes are checked at run time."""
    own = shape_of(addend)
    sizes = shape[len(shape) - len(own) :]
    return conversion.with_shape(
        addend, [size if size == 1 else wanted for size, wanted in zip(own, sizes, strict=True)]
    )


def _scaled(conversion: Conversion, index: int, factor: float) -> relax.Expr:
    value = conversion.inputs[index]
    if factor == 1.0:
        return conversion.tensor(index)
    if isinstance(value, np.ndarray):
        return tensor_constant((value * np.asarray(factor, value.dtype)).astype(value.dtype))
    tensor = conversion.tensor(index)
    return relax.op.multiply(tensor, relax.const(factor, dtype_of(tensor)))


def _stack(conversion: Conversion, index: int, letter: str) -> relax.Expr:
    tensor = conversion.tensor(index)
    axes = list(range(rank_of(tensor)))
    if len(axes) < 2:
        return tensor
    if conversion.attribute(f"transBatch{letter}", 0):
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if conversion.attribute(f"trans{letter}", 0):
        axes[-2:] = axes[:-3:-1]
    return tensor if axes == sorted(axes) else conversion.emit(relax.op.permute_dims(tensor, axes))
