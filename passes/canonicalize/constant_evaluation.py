"""Evaluation of a call whose inputs are all constants: by NumPy where that is exact, else compiled for this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.lone_operators import kernel_of
from lepton_compiler.passes.canonicalize.constant_arrays import array_of
from lepton_compiler.targets.registry import native_target

_Arrays = Sequence[np.ndarray]
_CREATORS = {"relax.full", "relax.zeros", "relax.ones", "relax.arange", "relax.shape_to_tensor", "relax.eye"}


def has_constant_inputs(call: relax.Call) -> bool:
    """Whether ``call`` is a pure operator or kernel that reads constants only, and at least one or a fixed shape."""
    if not isinstance(call.op, tvm.ir.Op):
        return False
    if kernel_of(call) is not None:
        return len(call.args) == 2 and _is_constant(call.args[1]) and _holds_tensor(call.args[1])
    if not call.op.get_attr("FPurity") or call.op.get_attr("FLegalize") is None:
        return call.op.name in _BY_NUMPY and all(map(_is_constant, call.args))
    if not all(map(_is_constant, call.args)):
        return False
    return call.op.name in _CREATORS or any(map(_holds_tensor, call.args))


def host_target() -> tvm.target.Target:
    """This machine. The triple is spelled out, since LLVM knows a default one only where a C compiler is installed."""
    return tvm.target.Target({"kind": "llvm", "mtriple": native_target().llvm_triple})


def result_bytes(ty: relax.Type) -> int | None:
    """Size of a tensor or tuple in bytes, None where a dimension is symbolic."""
    if isinstance(ty, relax.TupleType):
        parts = [result_bytes(field) for field in ty.fields]
        return None if None in parts else sum(part for part in parts if part is not None)
    if not isinstance(ty, relax.TensorType) or ty.shape is None:
        return None
    if not all(isinstance(extent, tvm.tirx.IntImm) for extent in ty.shape.values):
        return None
    return math.prod(int(extent) for extent in ty.shape.values) * tvm.DataType(str(ty.dtype)).itemsize


def input_bytes(expr: relax.Expr) -> int:
    """Size in bytes of the constants that ``expr`` reads."""
    if isinstance(expr, relax.Call):
        return sum(input_bytes(arg) for arg in expr.args)
    if isinstance(expr, relax.Tuple):
        return sum(input_bytes(field) for field in expr.fields)
    array = array_of(expr)
    return 0 if array is None else array.nbytes


def evaluate(module: tvm.IRModule, call: relax.Call, ty: relax.Type) -> list[np.ndarray]:
    """Computes a call for which ``has_constant_inputs`` holds.

    Args:
        module: Holds the kernel where the call is a ``call_tir``.
        call: The call.
        ty: Its type.

    Returns:
        One array for each tensor of the result.

    Raises:
        tvm.error.InternalError: TVM can't compile the operator.
    """
    by_numpy = _BY_NUMPY.get(operator_name(call) or "")
    if by_numpy is None or not isinstance(ty, relax.TensorType):
        return _evaluate_compiled(module, call)
    with np.errstate(all="ignore"):
        result = np.asarray(by_numpy(call, _flat_arrays(call.args)))
    shape = tuple(int(extent) for extent in ty.shape.values)
    return [result.astype(str(ty.dtype), copy=False).reshape(shape)]


def _evaluate_compiled(module: tvm.IRModule, call: relax.Call) -> list[np.ndarray]:
    kernel = kernel_of(call)
    builder = relax.BlockBuilder()
    if kernel is not None:
        kernel = builder.add_func(module[kernel].without_attr("global_symbol"), kernel.name_hint)
        call = relax.Call(call.op, [kernel, *call.args[1:]], call.attrs, call.ty_args)
    with builder.function("main", []):
        builder.emit_func_output(builder.emit(call))
    machine = relax.VirtualMachine(relax.build(builder.get(), target=host_target()), tvm.cpu())
    result = machine["main"]()
    return [result.numpy()] if isinstance(result, tvm.runtime.Tensor) else [part.numpy() for part in result]


def _is_constant(arg: relax.Expr) -> bool:
    if isinstance(arg, relax.Tuple):
        return all(map(_is_constant, arg.fields))
    if isinstance(arg, relax.ShapeExpr):
        return all(isinstance(extent, tvm.tirx.IntImm) for extent in arg.values)
    return isinstance(arg, GenericConst | tvm.tirx.IntImm | tvm.tirx.FloatImm | tvm.ir.StringImm)


def _holds_tensor(arg: relax.Expr) -> bool:
    fields = arg.fields if isinstance(arg, relax.Tuple) else [arg]
    return any(array_of(field) is not None for field in fields)


def _flat_arrays(args: Sequence[relax.Expr]) -> list[np.ndarray]:
    fields = [field for arg in args for field in (arg.fields if isinstance(arg, relax.Tuple) else [arg])]
    return [array for field in fields if (array := array_of(field)) is not None]


def _of_arrays(function: Callable[..., np.ndarray]) -> Callable[[relax.Call, _Arrays], np.ndarray]:
    return lambda call, arrays: function(*arrays)


def _permute(call: relax.Call, arrays: _Arrays) -> np.ndarray:
    axes = call.attrs.axes
    return arrays[0].transpose(None if axes is None else [int(axis) for axis in axes])


def _concatenate(call: relax.Call, arrays: _Arrays) -> np.ndarray:
    return np.concatenate(arrays, axis=None if call.attrs.axis is None else int(call.attrs.axis))


def _broadcast(call: relax.Call, arrays: _Arrays) -> np.ndarray:
    return np.broadcast_to(arrays[0], [int(extent) for extent in call.args[1].values])


# Reshapes, squeezes and casts take their shape and dtype from the node's type. Integer division, rounding and the like
# are missing on purpose: TVM's kernels and NumPy disagree there. Maxima are
# here because TVM's own drop NaN, sinh and cosh because it has no code for them.
_BY_NUMPY: dict[str, Callable[[relax.Call, _Arrays], np.ndarray]] = {
    "relax.reshape": _of_arrays(lambda x: x),
    "relax.squeeze": _of_arrays(lambda x: x),
    "relax.expand_dims": _of_arrays(lambda x: x),
    "relax.flatten": _of_arrays(lambda x: x),
    "relax.permute_dims": _permute,
    "relax.concat": _concatenate,
    "relax.broadcast_to": _broadcast,
    "relax.shape_to_tensor": lambda call, arrays: np.array([int(extent) for extent in call.args[0].values], "int64"),
    # TVM has no kernel for known limits: it computes this very call.
    "relax.arange": lambda call, arrays: np.arange(*(arg.value for arg in call.args), dtype=str(call.attrs.dtype)),
    "relax.add": _of_arrays(np.add),
    "relax.subtract": _of_arrays(np.subtract),
    "relax.multiply": _of_arrays(np.multiply),
    "relax.negative": _of_arrays(np.negative),
    "relax.abs": _of_arrays(np.abs),
    "relax.sqrt": _of_arrays(np.sqrt),
    "relax.sinh": _of_arrays(lambda x: np.sinh(x.astype(np.float64))),
    "relax.cosh": _of_arrays(lambda x: np.cosh(x.astype(np.float64))),
    "relax.nn.relu": _of_arrays(lambda x: np.maximum(x, x.dtype.type(0))),
    "relax.maximum": _of_arrays(np.maximum),
    "relax.minimum": _of_arrays(np.minimum),
    "relax.isnan": _of_arrays(np.isnan),
    "relax.isinf": _of_arrays(np.isinf),
    "relax.where": _of_arrays(np.where),
    "relax.equal": _of_arrays(np.equal),
    "relax.not_equal": _of_arrays(np.not_equal),
    "relax.less": _of_arrays(np.less),
    "relax.less_equal": _of_arrays(np.less_equal),
    "relax.greater": _of_arrays(np.greater),
    "relax.greater_equal": _of_arrays(np.greater_equal),
    "relax.logical_and": _of_arrays(np.logical_and),
    "relax.logical_or": _of_arrays(np.logical_or),
    "relax.logical_not": _of_arrays(np.logical_not),
}
