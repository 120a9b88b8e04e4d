"""Random matrix products: MatMul, FusedMatMul and Gemm, of constants and of fed matrices, with broadcast batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from case_graph import CaseGraph
from epilogues import Epilogue, epilogues
from hypothesis import strategies as st


@dataclass(frozen=True)
class ProductCase:
    """A product of two matrices, or of two stacks of them.

    Attributes:
        operator: MatMul, FusedMatMul or Gemm.
        left: Its shape as the product reads it, ``[..., M, K]`` or ``[K]``.
        right: The same, ``[..., K, N]`` or ``[K]``.
        transposed: Which of the two are stored the other way and transposed, by nodes or by the operator's attributes.
        constant: Which of the two is a weight: ``"left"``, ``"right"`` or none.
        bias: Whether a constant vector is added: by Gemm itself, else by a node.
        symbolic: Whether the first axis of the left input, be it of the batch or the rows, is symbolic.
        epilogue: What follows.
    """

    amplification: ClassVar[float] = 1.0

    operator: str
    left: tuple[int, ...]
    right: tuple[int, ...]
    transposed: tuple[bool, bool]
    constant: str | None
    bias: bool
    symbolic: bool
    epilogue: Epilogue

    def write(self, graph: CaseGraph) -> tuple[str, str]:
        """The product, then its bias and epilogue."""
        attributes = self.operator != "MatMul"
        operands = []
        for side, shape, swap in (("left", self.left, self.transposed[0]), ("right", self.right, self.transposed[1])):
            stored = (*shape[:-2], shape[-1], shape[-2]) if swap else shape
            symbolic = self.symbolic and side == "left"
            x = graph.constant(*stored) if self.constant == side else graph.input(*stored, symbolic=symbolic)
            if swap and not attributes:
                x = graph.node("Transpose", [x], perm=[*range(len(shape) - 2), len(shape) - 1, len(shape) - 2])
            operands.append(x)
        shape = np.matmul(np.zeros(self.left), np.zeros(self.right)).shape
        if attributes:
            x = self._with_attributes(graph, operands, shape)
        else:
            x = graph.node("MatMul", operands)
        anchor = x
        if self.bias and self.operator != "Gemm" and shape:
            x = graph.node("Add", [x, graph.constant(shape[-1])])
        if shape:
            x = self.epilogue.write(graph, x, shape, len(shape) - 1, self.symbolic)
        return anchor, x

    def _with_attributes(self, graph: CaseGraph, operands: list[str], shape: tuple[int, ...]) -> str:
        trans = {"transA": int(self.transposed[0]), "transB": int(self.transposed[1]), "alpha": 0.5}
        if self.operator == "FusedMatMul":
            return graph.node("FusedMatMul", operands, "com.microsoft", **trans)
        if self.bias:
            operands = [*operands, graph.constant(shape[-1])]
        return graph.node("Gemm", operands, beta=2.0, **trans)


SIZES = st.one_of(st.just(1), st.integers(1, 9), st.integers(1, 70), st.sampled_from([16, 32, 64, 128, 200]))


@st.composite
def products(draw: st.DrawFn) -> ProductCase:
    """Any valid one: also of vectors, of single rows and columns, and of one another's transposes."""
    rows, depth, columns = draw(SIZES), draw(SIZES), draw(SIZES)
    operator = draw(st.sampled_from(["MatMul", "MatMul", "MatMul", "FusedMatMul", "Gemm"]))
    left_batch, right_batch = draw(_batches()) if operator != "Gemm" else ((), ())
    left, right = (*left_batch, rows, depth), (*right_batch, depth, columns)
    vectors = draw(st.sampled_from([None] * 6 + ["left", "right"])) if operator == "MatMul" else None
    if vectors == "left":
        left = (depth,)
    elif vectors == "right":
        right = (depth,)
    constant = draw(st.sampled_from(["right", "right", None, None, "left"]))
    swapped = st.sampled_from([False, False, True])
    left_swapped, right_swapped = (len(side) > 1 and draw(swapped) for side in (left, right))
    # A symbolic axis of both operands would have to be the same in each; only the left one's own is.
    own = len(left) > 1 and len(left) >= len(right) and (len(left) == 2 or len(left) > len(right))
    first_is_depth = len(left) == 2 and left_swapped
    free = own and not first_is_depth and constant != "left"
    return ProductCase(
        operator=operator,
        left=left,
        right=right,
        transposed=(left_swapped, right_swapped),
        constant=constant,
        bias=draw(st.booleans()),
        symbolic=free and draw(st.booleans()),
        epilogue=draw(epilogues()),
    )


@st.composite
def _batches(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Leading axes of both operands: none, the same, or broadcast against each other."""
    full = draw(st.lists(st.integers(1, 4), max_size=2))
    sides = []
    for _ in range(2):
        kept = full[draw(st.integers(0, len(full))) :]
        sides.append(tuple(size if draw(st.sampled_from([True, True, False])) else 1 for size in kept))
    return sides[0], sides[1]
