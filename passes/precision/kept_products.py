"""Products of a graph, and which of them ``--keep-fp32`` names.

A pattern is a name of the model, also with ``*``, or ``first`` or ``last``, the outermost products.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import tvm
from tvm import relax

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.node_names import node_of, parts_of
from lepton_compiler.passes.lowering.legalize_convolutions import CONVOLUTIONS


def products_of(module: tvm.IRModule) -> list[relax.VarBinding]:
    """Every convolution and matrix product of ``main``, in order."""
    return [binding for binding in bindings(module) if _is_product(binding.value)]


def is_named(pattern: str, product: relax.VarBinding, candidates: Sequence[relax.VarBinding]) -> bool:
    """Whether a pattern means a product.

    Args:
        pattern: The pattern.
        product: One of ``candidates``.
        candidates: The products among which the first and the last are looked for.
    """
    ends = {"first": candidates[0], "last": candidates[-1]}
    if pattern in ends:
        return product.same_as(ends[pattern])
    names = (name for part in parts_of(product.var.name) for name in (part, node_of(part)))
    return any(fnmatchcase(name, pattern) for name in names)


def _is_product(value: relax.Expr) -> bool:
    return operator_name(value) in CONVOLUTIONS or operator_name(value) == "relax.matmul"
