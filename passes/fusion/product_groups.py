"""Products that read the same tensor: what ``MergeProducts`` may make one product of.

p = matmul(x, W1);  a = add(p, b1)          the addition of a constant to each column belongs to its product
q = matmul(x, W2)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, per_channel
from lepton_compiler.passes.main_graph import join_names
from lepton_compiler.passes.relax_expressions import variables


@dataclass(frozen=True, eq=False)
class Product:
    """A product with a constant weight, and the addition of a constant behind it.

    Attributes:
        matmul: The product's binding.
        result: The binding of the addition, or the product's own where there is none.
        weight: ``[inner, columns]``.
        bias: One value a column, None where nothing is added.
    """

    matmul: relax.VarBinding
    result: relax.VarBinding
    weight: np.ndarray = field(repr=False)
    bias: np.ndarray | None = field(repr=False)

    @property
    def name(self) -> str:
        """Names of its nodes."""
        return join_names(self.matmul.var.name, self.result.var.name)

    @property
    def columns(self) -> int:
        """Columns of the weight."""
        return self.weight.shape[1]

    @property
    def rows(self) -> int | None:
        """Rows of all leading axes together, None where that is symbolic."""
        extents = self.matmul.value.args[0].ty.shape.values[:-1]
        if not all(isinstance(extent, tvm.tirx.IntImm) for extent in extents):
            return None
        return int(np.prod([int(extent) for extent in extents]))


def find_groups(module: tvm.IRModule) -> list[tuple[Product, ...]]:
    """Products of a ``main`` without aliases by the tensor that they read; those that stand alone are left out."""
    readers = _readers(module)
    groups: dict[relax.Var, list[Product]] = defaultdict(list)
    for binding in bindings(module):
        if (product := _product(binding, readers)) is not None:
            groups[binding.value.args[0]].append(product)
    return [tuple(members) for members in groups.values() if len(members) > 1]


def sole_weights(module: tvm.IRModule, groups: Sequence[Sequence[Product]]) -> set[Product]:
    """The products whose weights can be joined without adding to the model's weights.

    A weight that others read, too, is kept for them beside the joined one, unless they are in groups of the very same
    weights, as layers that share all their parameters are.
    """
    fingerprints = [_fingerprint(array) for array in _constant_matrices(module)]
    uses = Counter(fingerprints)
    signatures = [tuple(_fingerprint(product.weight) for product in group) for group in groups]
    same = Counter(signatures)
    return {
        product
        for group, signature in zip(groups, signatures, strict=True)
        for product, mark in zip(group, signature, strict=True)
        if signature.count(mark) == 1 and uses[mark] == same[signature]
    }


def _product(binding: relax.VarBinding, readers: dict[relax.Var, list[relax.VarBinding | None]]) -> Product | None:
    """The product of a binding, None where it is no product of float32 with a constant matrix."""
    if operator_name(binding.value) != "relax.matmul":
        return None
    data, right = binding.value.args
    weight = array_of(right)
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32 or 0 in weight.shape:
        return None
    if not isinstance(data, relax.Var) or data.ty.ndim < 2 or str(binding.var.ty.dtype) != "float32":
        return None
    behind = readers[binding.var]
    if len(behind) == 1 and behind[0] is not None and operator_name(behind[0].value) == "relax.add":
        bias = _bias(binding.var, behind[0].value, weight.shape[1])
        if bias is not None:
            return Product(binding, behind[0], weight, bias)
    return Product(binding, binding, weight, None)


def _bias(product: relax.Var, addition: relax.Call, columns: int) -> np.ndarray | None:
    other = next((arg for arg in addition.args if not arg.same_as(product)), None)
    array = None if other is None else array_of(other)
    if array is None or array.ndim > product.ty.ndim:
        return None
    return per_channel(array, product.ty.ndim, product.ty.ndim - 1, columns)


def _readers(module: tvm.IRModule) -> dict[relax.Var, list[relax.VarBinding | None]]:
    """Who reads each variable, once for each time; None stands for the model's outputs."""
    readers: dict[relax.Var, list[relax.VarBinding | None]] = defaultdict(list)
    for binding in bindings(module):
        for var in variables(binding.value):
            readers[var].append(binding)
    for var in variables(module["main"].body.body):
        readers[var].append(None)
    return readers


def _constant_matrices(module: tvm.IRModule) -> list[np.ndarray]:
    """Every matrix that is a constant argument of a call, once for each call."""
    calls = (binding.value for binding in bindings(module) if isinstance(binding.value, relax.Call))
    arguments = (arg for call in calls for arg in call.args)
    arrays = (array_of(arg) for arg in arguments if isinstance(arg, GenericConst))
    return [array for array in arrays if array is not None and array.ndim == 2]


def _fingerprint(array: np.ndarray) -> Hashable:
    """Equal for equal matrices, and for few others: a shape and the first and last rows."""
    return array.shape, str(array.dtype), array[:1].tobytes(), array[-1:].tobytes()
