"""Which tensors of a graph are stored as bfloat16.

A product whose operands are rounded asks for its input in bfloat16; what only moves elements (a reshape, a transpose)
asks for its own input where its result is asked for. In precision ``bf16`` a tensor is stored as soon as one reader
asks for it, and others read the rounded numbers; in ``mixed`` only if all do, so that nothing is rounded but operands
of products. The model's inputs and outputs stay float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import tvm
from tvm import relax

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.passes.relax_expressions import variables

_MOVES = "reshape permute_dims concat strided_slice squeeze expand_dims flatten"
MOVES = frozenset(f"relax.{name}" for name in _MOVES.split())
"""Operators that only move elements, and so work on stored numbers as they are."""


def plan_storage(
    module: tvm.IRModule, products: Collection[relax.Var], other_readers: Collection[relax.Var], *, share: bool
) -> set[relax.Var]:
    """The variables of ``main`` that are stored as bfloat16.

    Args:
        module: The graph, without aliases.
        products: Results of products whose operands are rounded.
        other_readers: Results of nodes that read stored numbers as fast as float32 ones; they ask where ``share``.
        share: Whether a tensor that one reader asks for is stored for all of them.
    """
    outputs = set(variables(module["main"].body.body))
    asked, readers = Counter[relax.Var](), Counter[relax.Var]()
    stored: set[relax.Var] = set()
    for binding in reversed(list(bindings(module))):
        var, operands = binding.var, list(variables(binding.value))
        readers.update(operands)
        if asked[var] and var not in outputs and _is_float32(var) and (share or asked[var] == readers[var]):
            stored.add(var)
        if var in products:
            asked.update(operands[:1])
        elif (operator_name(binding.value) in MOVES and var in stored) or (share and var in other_readers):
            asked.update(operands)
    return stored


def _is_float32(var: relax.Var) -> bool:
    return isinstance(var.ty, relax.TensorType) and str(var.ty.dtype) == "float32" and var.ty.shape is not None
