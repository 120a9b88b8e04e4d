"""What a converter is given, and what it may give back.

A value in the graph is one of three things while the model is imported:

* a NumPy array: known now,
* a ``ShapeValue``: integers that follow from the sizes of the inputs, such as the result of ``Shape``,
* a Relax expression: a tensor that exists only when the model runs.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import tvm
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.shape_values import ShapeValue, materialize, same_size, simplify

Value: TypeAlias = "np.ndarray | ShapeValue | relax.Expr | list[Value]"
"""A list is an ONNX sequence whose length is known while importing."""
Size: TypeAlias = "int | tirx.Expr"

_REQUIRED = object()


class ConversionError(Exception):
    """This node can't be imported; the message says why, in words that follow "node X:"."""


class Conversion:
    """One ONNX node on its way to Relax: its inputs, attributes and the means to emit bindings.

    Attributes:
        op: Operator type.
        name: Name that the node's last binding will carry.
        opset: Version of the operator's domain.
        inputs: Its inputs; None for an optional one that is left out.
        attributes: Attribute values by name; strings are ``str``, tensors NumPy arrays.
        output_names: Names of the outputs; empty for an optional one that is not wanted.
        declared_shapes: For each output the shape that the model declares, None where it declares none or leaves a
            dimension open.
    """

    def __init__(
        self,
        builder: relax.BlockBuilder,
        op: str,
        name: str,
        opset: int,
        inputs: Sequence[Value | None],
        attributes: dict[str, Any],
        output_names: Sequence[str],
        constants: dict[int, tuple[np.ndarray, relax.Expr]],
        declared_shapes: Sequence[tuple[int, ...] | None] = (),
    ) -> None:
        self.builder = builder
        self.op = op
        self.name = name
        self.opset = opset
        self.inputs = tuple(inputs)
        self.attributes = attributes
        self.output_names = tuple(output_names)
        self.declared_shapes = tuple(declared_shapes)
        self._constants = constants
        self._numbers = itertools.count(1)

    def with_inputs(self, replacements: Mapping[int, Value | None]) -> Conversion:
        """The same node with other inputs in some places, for another converter; both count their bindings together."""
        result = copy.copy(self)
        count = max(len(self.inputs), *(index + 1 for index in replacements))
        given = dict(enumerate(self.inputs)) | dict(replacements)
        result.inputs = tuple(given.get(index) for index in range(count))
        return result

    # Inputs

    def has(self, index: int) -> bool:
        """Whether the optional input ``index`` is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def tensor(self, index: int) -> relax.Expr:
        """Input ``index`` as a Relax expression with a known type, whatever kind of value it is."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise ConversionError(f"input {index} is missing")
        return self.as_tensor(value)

    def as_tensor(self, value: Value) -> relax.Expr:
        """A value as a Relax expression."""
        if isinstance(value, np.ndarray):
            if value.dtype.kind in "OSU":
                raise ConversionError("tensors of strings can't be compiled")
            return self._shared_constant(value)
        if isinstance(value, ShapeValue):
            return self.emit(materialize(self.builder, value))
        if isinstance(value, list):
            raise ConversionError("a sequence where a tensor is expected")
        return value

    def _shared_constant(self, array: np.ndarray) -> relax.Expr:
        """The Relax constant of an array; a weight that several nodes use is one constant."""
        if id(array) not in self._constants:
            # The array is kept, so that its id stays its own.
            self._constants[id(array)] = (array, tensor_constant(array))
        return self._constants[id(array)][1]

    def tensors(self) -> list[relax.Expr]:
        """All inputs as Relax expressions."""
        return [self.tensor(index) for index in range(len(self.inputs))]

    def constant(self, index: int, default: Any = _REQUIRED) -> Any:
        """Input ``index`` as a NumPy array.

        Raises:
            ConversionError: It is known only when the model runs.
        """
        value = self.inputs[index] if self.has(index) else default
        if value is _REQUIRED:
            raise ConversionError(f"input {index} is missing")
        if value is default or isinstance(value, np.ndarray):
            return value
        raise ConversionError(f"input {index} must be a constant, but is computed when the model runs")

    def sizes(self, index: int) -> list[Size]:
        """Input ``index``, a vector of integers, as numbers and expressions in the inputs' symbols.

        Raises:
            ConversionError: It is known only when the model runs.
        """
        value = self.inputs[index] if self.has(index) else None
        if isinstance(value, ShapeValue):
            return [simplify(size) for size in value.values.reshape(-1)]
        if isinstance(value, np.ndarray):
            return [int(size) for size in value.reshape(-1)]
        raise ConversionError(
            f"input {index} must follow from constants and input shapes, but is computed from data when the model runs"
        )

    def element_type(self, index: int) -> str:
        """Element type of input ``index``, as NumPy names it, whatever kind of value it is."""
        value = self.inputs[index]
        return str(value.dtype) if isinstance(value, np.ndarray | ShapeValue) else dtype_of(value)

    def declared_shape(self, output: int = 0) -> tuple[int, ...]:
        """The shape that the model declares for output ``output``, where it follows from no input's shape.

        Raises:
            ConversionError: The model does not declare it, or leaves a dimension open.
        """
        shape = self.declared_shapes[output] if output < len(self.declared_shapes) else None
        if shape is None:
            raise ConversionError(
                "the shape of its result depends on data that is known only when the model runs, "
                "and the model does not declare it"
            )
        return shape

    # Attributes

    def attribute(self, name: str, default: Any = _REQUIRED) -> Any:
        """Value of the attribute ``name``.

        Raises:
            ConversionError: It is missing and has no default.
        """
        value = self.attributes.get(name, default)
        if value is _REQUIRED:
            raise ConversionError(f'attribute "{name}" is missing')
        return value

    def target_dtype(self, name: str = "to") -> str:
        """The element type that an attribute names, as NumPy spells it."""
        try:
            return str(onnx.helper.tensor_dtype_to_np_dtype(self.attribute(name)))
        except KeyError:
            raise ConversionError(f'attribute "{name}" names no element type') from None

    def wants(self, output: int) -> bool:
        """Whether anything may use output ``output``."""
        return output < len(self.output_names) and bool(self.output_names[output])

    # Results

    def emit(self, expr: relax.Expr) -> relax.Expr:
        """Binds an inner expression, so that its type is known, to a variable ``<node>/1``, ``<node>/2``..."""
        if isinstance(expr, relax.Var | tvm.ir.GenericConst):
            return expr
        return self.bind(expr, f"{self.name}/{next(self._numbers)}")

    def bind(self, expr: relax.Expr, name: str) -> relax.Expr:
        """Binds an expression to a variable of exactly this name, which the block builder's ``emit`` would change."""
        value = self.builder.normalize(self.flatten(expr))
        var = relax.Var(name, value.ty)
        self.builder.emit_normalized(relax.VarBinding(var, value))
        return var

    def emit_te(self, compute: Callable[..., Any], *arguments: Any, name: str | None = None) -> relax.Expr:
        """Binds a kernel written as tensor expressions; ``name`` is the kernel's name."""
        return self.emit(self.call_te(compute, *arguments, name=name))

    def call_te(
        self,
        compute: Callable[..., Any],
        *arguments: Any,
        name: str | None = None,
        kernel_attributes: Mapping[str, Any] | None = None,
    ) -> relax.Expr:
        """A call of a kernel written as tensor expressions, not bound yet; ``name`` is the kernel's name."""
        arguments = tuple(self.flatten_argument(a) if isinstance(a, relax.Expr) else a for a in arguments)
        attributes = {} if kernel_attributes is None else {"primfunc_attrs": dict(kernel_attributes)}
        return self.builder.call_te(compute, *arguments, primfunc_name_hint=name or self.op.lower(), **attributes)

    def filled(self, shape: Sequence[Size], value: float, dtype: str) -> relax.Expr:
        """A call that fills a tensor with one value; ``relax.op.full`` with an element type can't be lowered."""

        def compute(sizes: Sequence[tirx.Expr]) -> te.Tensor:
            return te_compute(sizes, lambda *_: tirx.const(value, dtype), name="fill", tag=topi.tag.INJECTIVE)

        return self.call_te(compute, list(shape), name="fill")

    def broadcastable(self, *tensors: relax.Expr) -> list[relax.Expr]:
        """Bound tensors with shapes that Relax can broadcast.

        Where two symbolic sizes meet and nothing shows that they are equal, the model takes them to be; the program
        then checks it when it runs. ``(h - 1) // 16 + 1`` and ``2 * ((h - 1) // 32 + 1)`` are such a pair.
        """
        rank = max(rank_of(tensor) for tensor in tensors)
        shapes = [[*[1] * (rank - rank_of(tensor)), *shape_of(tensor)] for tensor in tensors]
        for axis in range(rank):
            sizes = [shape[axis] for shape in shapes if not _is_one(shape[axis])]
            known = next((size for size in sizes if isinstance(size, int)), sizes[0] if sizes else 1)
            for shape in shapes:
                shape[axis] = 1 if _is_one(shape[axis]) else known
        return [
            self.with_shape(tensor, shape[rank - rank_of(tensor) :])
            for tensor, shape in zip(tensors, shapes, strict=True)
        ]

    def with_size(self, tensor: relax.Expr, axis: int, size: Size) -> relax.Expr:
        """A bound tensor whose ``axis`` has ``size``, checked at run time unless it is known or can't be."""
        sizes = shape_of(tensor)
        sizes[axis] = size
        return self.with_shape(tensor, sizes)

    def with_shape(self, tensor: relax.Expr, sizes: Sequence[Size]) -> relax.Expr:
        """A bound tensor with other expressions for its symbolic sizes, checked at run time unless surely equal."""
        have = shape_of(tensor)
        wanted = [
            new if not isinstance(old, int) and not same_size(old, new) else old
            for old, new in zip(have, sizes, strict=True)
        ]
        if all(new is old for old, new in zip(have, wanted, strict=True)):
            return tensor
        # TVM's mutators crash on a cast that seems to define a symbol, so that one is written as a product.
        wanted = [tirx.Mul(new, tirx.IntImm("int64", 1)) if tvm.ir.is_prim_var(new) and new is not old else new
                  for old, new in zip(have, wanted, strict=True)]  # fmt: skip
        return self.cast(tensor, relax.TensorType(wanted, dtype_of(tensor)))

    def cast(self, value: relax.Expr, ty: relax.Type) -> relax.Expr:
        """A bound value under another type, which a run checks; it stays in the program where nothing reads it."""
        var = relax.Var(f"{self.name}/{next(self._numbers)}", ty)
        self.builder.emit_normalized(relax.MatchCast(var, value, ty))
        return var

    def flatten(self, expr: relax.Expr) -> relax.Expr:
        """Binds the calls inside of ``expr`` to inner variables, so that TVM has no reason to invent names."""
        if isinstance(expr, relax.TupleGetItem):
            return relax.TupleGetItem(self.flatten_argument(expr.tuple_value), expr.index)
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self.flatten_argument(field) for field in expr.fields])
        if not isinstance(expr, relax.Call):
            return expr
        arguments = [self.flatten_argument(argument) for argument in expr.args]
        if all(new is old for new, old in zip(arguments, expr.args, strict=True)):
            return expr
        return relax.Call(expr.op, arguments, expr.attrs, expr.ty_args, expr.span)

    def flatten_argument(self, argument: relax.Expr) -> relax.Expr:
        """An argument in the form that Relax wants: a variable, a constant, or a tuple of those."""
        if isinstance(argument, relax.Tuple):
            fields = [self.flatten_argument(field) for field in argument.fields]
            changed = any(new is not old for new, old in zip(fields, argument.fields, strict=True))
            return relax.Tuple(fields) if changed else argument
        if isinstance(argument, relax.TupleGetItem) or _is_tensor_call(argument):
            return self.emit(argument)
        return argument


def _is_one(size: Size) -> bool:
    return isinstance(size, int) and size == 1


def _is_tensor_call(expr: relax.Expr) -> bool:
    """Whether ``expr`` computes a tensor; integer expressions in symbols are calls too, and stay where they are."""
    return isinstance(expr, relax.Call) and getattr(expr.op, "name", "").startswith("relax.")


def tensor_constant(array: np.ndarray) -> relax.Expr:
    """A constant with the array's own element type; ``relax.const`` narrows 64-bit ones and copies twice."""
    return relax.const(tvm.runtime.tensor(np.ascontiguousarray(array).reshape(array.shape)))


def shape_of(expr: relax.Expr) -> list[Size]:
    """Dimensions of a bound expression: numbers where they are known, else expressions in symbols.

    Raises:
        ConversionError: Relax could not infer the shape.
    """
    shape = expr.ty.shape
    if shape is None:
        raise ConversionError("the shape of an input is not known")
    return [_plain(dim) for dim in shape.values]


def _plain(dim: tirx.Expr) -> Size:
    if isinstance(dim, tirx.IntImm):
        return int(dim)
    # ``with_shape`` writes symbols as products.
    return dim.a if isinstance(dim, tirx.Mul) and isinstance(dim.b, tirx.IntImm) and int(dim.b) == 1 else dim


def rank_of(expr: relax.Expr) -> int:
    """Number of dimensions of a bound expression."""
    return len(shape_of(expr))


def dtype_of(expr: relax.Expr) -> str:
    """Element type of a bound expression, as NumPy names it."""
    return str(expr.ty.dtype.dtype)
