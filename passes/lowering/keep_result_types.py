"""Legalizations that keep the operator's own result type.

    conv2d(x, w): Tensor((n, c, (h - 1) // 2 + 1, ...))   ->   call_tir(...): the same type

TVM derives the type of a legalized call from the tensor expression, whose sizes are not simplified:
``(h + 1 + 1 - 3) // 2 + 1``. The next operator would build on that, and after twenty of them a symbolic size is a page
long and no longer recognised as equal to its neighbour's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import tvm
import tvm_ffi
from tvm import relax, tirx

from lepton_compiler.core.contracts import operator_name

Legalize = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]


def keep_result_types(own: Mapping[str, Legalize]) -> dict[str, Legalize]:
    """TVM's legalizations and ``own``, which take precedence, each wrapped so that result types stay."""
    legalizations = {name: legalize for name in tvm.ir.Op.list_op_names() if (legalize := _default(name)) is not None}
    legalizations.update(own)
    return {name: partial(_legalize, legalize) for name, legalize in legalizations.items()}


def _default(name: str) -> Legalize | None:
    return tvm.ir.Op.get(name).get_attr("FLegalize") if name.startswith("relax.") else None


def _legalize(legalize: Legalize, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    result = legalize(builder, call)
    if operator_name(result) != "relax.call_tir":
        return result
    wanted, given = _tensor_types(builder.normalize(call).ty), _tensor_types(result.ty_args[0])
    if len(wanted) != len(given) or all(_same_shape(a, b) for a, b in zip(wanted, given, strict=True)):
        return result
    kernel, operands = result.args[0], result.args[1].fields
    function = _with_result_shapes(builder.get()[kernel], operands, [ty.shape.values for ty in wanted])
    renamed = builder.add_func(function, kernel.name_hint)
    ty = relax.TupleType(wanted) if isinstance(result.ty_args[0], relax.TupleType) else wanted[0]
    return relax.Call(result.op, [renamed, *result.args[1:]], result.attrs, [ty])


def _tensor_types(ty: relax.Type) -> list[relax.TensorType]:
    """The fields of a type whose shapes are known; none where a field's is not."""
    fields = list(ty.fields) if isinstance(ty, relax.TupleType) else [ty]
    known = [field for field in fields if isinstance(field, relax.TensorType) and field.shape is not None]
    return known if len(known) == len(fields) else []


def _same_shape(left: relax.TensorType, right: relax.TensorType) -> bool:
    return tvm_ffi.structural_equal(left.shape, right.shape)


def _with_result_shapes(
    function: tirx.PrimFunc, operands: Sequence[relax.Expr], shapes: Sequence[Sequence[tirx.Expr]]
) -> tirx.PrimFunc:
    """The kernel with other, equal expressions for the sizes of its results: fusion compares them by structure."""
    own = _own_symbols(function.params, operands)
    results = {}
    for old, shape in zip(function.params[-len(shapes) :], shapes, strict=True):
        results[old] = tirx.decl_buffer([_rename(dim, own) for dim in shape], old.dtype, old.name, layout=None)
    params = [results.get(param, param) for param in function.params]
    return tirx.PrimFunc(params, _rename(function.body, results), function.ret_type, function.attrs)


def _own_symbols(params: Sequence[tirx.Var], operands: Sequence[relax.Expr]) -> dict[tirx.Var, tirx.Var]:
    """The kernel's name for each of the model's symbols: a scalar parameter, or a dimension of a buffer."""
    own: dict[tirx.Var, tirx.Var] = {}
    for param, operand in zip(params, operands, strict=False):
        pairs = [(operand, param)]
        if isinstance(operand.ty, relax.TensorType):
            pairs = list(zip(operand.ty.shape.values, param.shape, strict=True))
        own.update({outer: inner for outer, inner in pairs if isinstance(outer, tirx.Var)})
    return own


def _rename(node: tvm.runtime.Object, names: Mapping[tirx.Var, tirx.Var]) -> tvm.runtime.Object:
    return tvm_ffi.structural_map(node, (tirx.Var, lambda var: names.get(var, var)))
