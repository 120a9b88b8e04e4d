"""ExecutionPlan: a scheduled program as a straight list of kernel calls over numbered tensors.

Relax's ``main`` is walked once. Every tensor gets a place: an input, an output, a constant, or an allocation in the
arena; a reshape is a view of its operand's place. A result of the model takes its output's place from the start, so
that the last kernel writes where the caller reads; only what can't (an input passed through, a constant, the same
tensor twice) is copied at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import tvm
from tvm import relax, tirx

from lepton_compiler.build.dim_expressions import Size, plain_shape, same_product, to_text
from lepton_compiler.build.lift_workspaces import Workspace
from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.errors import InternalError


@dataclass(frozen=True)
class InputPlace:
    """Memory of the model's input ``index``."""

    index: int


@dataclass(frozen=True)
class OutputPlace:
    """Memory of the model's output ``index``."""

    index: int


@dataclass(frozen=True)
class ConstantPlace:
    """Constant ``index`` of the plan."""

    index: int


@dataclass(frozen=True)
class ArenaPlace:
    """Allocation ``index`` of the plan."""

    index: int


Place = InputPlace | OutputPlace | ConstantPlace | ArenaPlace


@dataclass(frozen=True)
class Tensor:
    """A view of a place: dtype as NumPy names it, and shape of integers and expressions in the model's symbols."""

    dtype: str
    shape: tuple[Size, ...]
    place: Place


@dataclass(frozen=True)
class Allocation:
    """Memory in the arena that lives from call ``first`` to call ``last``, both included."""

    size_bytes: Size
    first: int
    last: int


@dataclass(frozen=True)
class KernelCall:
    """One call.

    Attributes:
        kernel: Its name.
        nodes: The model nodes that it computes.
        arguments: In the kernel's order, which is operands (tensors and scalars), results, workspaces.
        overwritten: Numbers of the operands whose memory a result takes.
        in_place: Which operand is overwritten; where none is, why those that die here and are large enough are not.
    """

    kernel: str
    nodes: str
    arguments: tuple[Tensor | Size, ...]
    overwritten: tuple[int, ...] = ()
    in_place: str = ""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those arguments that are tensors."""
        return tuple(argument for argument in self.arguments if isinstance(argument, Tensor))


@dataclass(frozen=True)
class OutputCopy:
    """A result that is copied into its output after the last kernel."""

    source: Tensor
    output: int


@dataclass(frozen=True)
class DimCheck:
    """Two sizes at ``node`` that the model takes for equal and that only a run can compare.

    ``axis`` is the dimension of a tensor; None where the sizes are no dimension, but computed from some.
    """

    node: str
    axis: int | None
    size: Size
    expected: Size


@dataclass(frozen=True)
class ExecutionPlan:
    """Everything that the executor does, in order; the checks come first."""

    symbols: tuple[tirx.Var, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    constants: tuple[tvm.runtime.Tensor, ...]
    calls: tuple[KernelCall, ...]
    allocations: tuple[Allocation, ...]
    copies: tuple[OutputCopy, ...] = ()
    checks: tuple[DimCheck, ...] = ()


def plan_execution(module: tvm.IRModule, workspaces: dict[str, tuple[Workspace, ...]]) -> ExecutionPlan:
    """Plans the calls of a SCHEDULED module's ``main``.

    Args:
        module: The module; its ``main`` holds only ``call_tir``, reshapes, tuples, constants and shapes.
        workspaces: For each kernel the buffers that it wants besides operands and results.

    Raises:
        InternalError: ``main`` holds something else, or a reshape to another number of elements; the message names
            the binding.
    """
    builder = _PlanBuilder(module["main"], workspaces)
    return builder.build()


def size_bytes(shape: Sequence[Size], dtype: str) -> Size:
    """Bytes of a dense tensor; an expression where a dimension is one.

    Raises:
        InternalError: Elements of ``dtype`` don't fill whole bytes.
    """
    bits = tvm.DataType(dtype).bits
    if bits % 8:
        raise InternalError(f"tensors of {dtype} have no place in memory: kernels address whole bytes")
    element_bytes = bits // 8
    if all(isinstance(dim, int) for dim in shape):
        return math.prod(shape) * element_bytes  # type: ignore[arg-type]
    product: Size = tirx.const(element_bytes, "int64")
    for dim in shape:
        product = product * dim
    return product


@dataclass
class _PlanBuilder:
    function: relax.Function
    workspaces: dict[str, tuple[Workspace, ...]]
    values: dict[relax.Var, object] = field(default_factory=dict)
    constants: list[tvm.runtime.Tensor] = field(default_factory=list)
    calls: list[KernelCall] = field(default_factory=list)
    allocations: list[Allocation] = field(default_factory=list)
    checks: list[DimCheck] = field(default_factory=list)

    def build(self) -> ExecutionPlan:
        inputs = tuple(
            Tensor(*_dtype_and_shape(param.ty, param.name), InputPlace(i))
            for i, param in enumerate(self.function.params)
        )
        self.values.update(zip(self.function.params, inputs, strict=True))
        for block in self.function.body.blocks:
            for binding in block.bindings:
                self.values[binding.var] = self._bind(binding)
        results = self._flatten(self._evaluate(self.function.body.body, "the result"))
        return self._place_outputs(inputs, results)

    def _bind(self, binding: relax.VarBinding) -> object:
        value, node = binding.value, binding.var.name
        operator = operator_name(value)
        if isinstance(binding, relax.MatchCast):
            return self._cast(self._evaluate(value, node), binding.ty, node)
        if operator == "relax.call_tir":
            return self._call(value, node)
        if operator == "relax.reshape":
            return self._view(self._tensor(self._evaluate(value.args[0], node), node), binding.var.ty, node)
        return self._evaluate(value, node)

    def _view(self, operand: Tensor, ty: relax.Type, node: str) -> Tensor:
        """The operand's memory under another shape, which must not reach beyond it."""
        shape = _dtype_and_shape(ty, node)[1]
        if not same_product(operand.shape, shape) and not self._is_checked(operand.shape, shape):
            sides = (f"[{', '.join(map(to_text, sizes))}]" for sizes in (operand.shape, shape))
            raise InternalError(f"node {node}: a reshape of {' to '.join(sides)}, which are not as large as each other")
        return replace(operand, shape=shape)

    def _is_checked(self, one: tuple[Size, ...], other: tuple[Size, ...]) -> bool:
        """Whether a comparison of the run makes two products of sizes equal."""
        return any(
            same_product([*one, check.expected], [*other, check.size])
            or same_product([*one, check.size], [*other, check.expected])
            for check in self.checks
        )

    def _cast(self, value: object, ty: relax.Type, node: str) -> object:
        """The same sizes, or memory under a shape, that are equal at run time, or the run is refused."""
        if isinstance(ty, relax.ShapeType) and isinstance(value, tuple):
            expected = plain_shape(ty.values)
            self._compare(value, expected, node, is_shape=False)
            return expected
        if not isinstance(value, Tensor):
            raise InternalError(f"node {node}: a shape is asserted of something that is no tensor: {value}")
        shape = _dtype_and_shape(ty, node)[1]
        self._compare(value.shape, shape, node, is_shape=True)
        return replace(value, shape=shape)

    def _compare(self, sizes: tuple[Size, ...], expected: tuple[Size, ...], node: str, is_shape: bool) -> None:
        for axis, (size, wanted) in enumerate(zip(sizes, expected, strict=True)):
            if not tvm.sym.Analyzer().can_prove_equal(size, wanted):
                self.checks.append(DimCheck(node, axis if is_shape else None, size, wanted))

    def _evaluate(self, value: relax.Expr, node: str) -> object:
        if isinstance(value, relax.Var):
            return self.values[value]
        if isinstance(value, tvm.ir.GenericConst):
            return self._constant(value, node)
        if isinstance(value, relax.Tuple):
            return tuple(self._evaluate(item, node) for item in value.fields)
        if isinstance(value, relax.TupleGetItem):
            return self._evaluate(value.tuple_value, node)[value.index]
        if isinstance(value, relax.ShapeExpr):
            return plain_shape(value.values)
        raise InternalError(f"node {node}: the executor has no place for {type(value).__name__}: {value}")

    def _constant(self, value: tvm.ir.GenericConst, node: str) -> Tensor:
        self.constants.append(value.value)
        return Tensor(*_dtype_and_shape(value.ty, node), ConstantPlace(len(self.constants) - 1))

    def _call(self, value: relax.Call, node: str) -> object:
        kernel = value.args[0].name_hint
        operands = [self._operand(argument, node) for argument in value.args[1].fields]
        (result_type,) = value.ty_args
        types = result_type.fields if isinstance(result_type, relax.TupleType) else [result_type]
        results = [self._allocate(*_dtype_and_shape(ty, node)) for ty in types]
        given = [item.shape if isinstance(item, Tensor) else item for item in (*operands, *results)]
        # A workspace's shape is written in the kernel's own symbols; here they become the model's.
        scratch = [self._allocate(w.dtype, w.shape_at(given, kernel)) for w in self.workspaces.get(kernel, ())]
        self.calls.append(KernelCall(kernel, node, (*operands, *results, *scratch)))
        return tuple(results) if isinstance(result_type, relax.TupleType) else results[0]

    def _operand(self, argument: relax.Expr, node: str) -> Tensor | Size:
        if not isinstance(argument.ty, tvm.ir.PrimType):
            return self._touch(self._evaluate(argument, node), node)
        if not str(argument.ty.dtype).startswith(("int", "uint", "bool")):
            raise InternalError(f"node {node}: a scalar of type {argument.ty} can't be computed from sizes: {argument}")
        return plain_shape([argument])[0]

    def _allocate(self, dtype: str, shape: tuple[Size, ...]) -> Tensor:
        now = len(self.calls)
        self.allocations.append(Allocation(size_bytes(shape, dtype), now, now))
        return Tensor(dtype, shape, ArenaPlace(len(self.allocations) - 1))

    @staticmethod
    def _tensor(value: object, node: str) -> Tensor:
        if not isinstance(value, Tensor):
            raise InternalError(f"node {node}: an operand is no tensor: {value}")
        return value

    def _touch(self, value: object, node: str) -> Tensor:
        """Notes that the next call reads the tensor ``value``."""
        tensor = self._tensor(value, node)
        if isinstance(tensor.place, ArenaPlace):
            index = tensor.place.index
            self.allocations[index] = replace(self.allocations[index], last=len(self.calls))
        return tensor

    def _flatten(self, value: object) -> list[Tensor]:
        if isinstance(value, Tensor):
            return [value]
        if isinstance(value, tuple):
            return [tensor for item in value for tensor in self._flatten(item)]
        raise InternalError(f"the model returns something other than tensors: {value}")

    def _place_outputs(self, inputs: tuple[Tensor, ...], results: list[Tensor]) -> ExecutionPlan:
        moved: dict[int, OutputPlace] = {}
        copies = []
        for index, result in enumerate(results):
            if isinstance(result.place, ArenaPlace) and result.place.index not in moved:
                moved[result.place.index] = OutputPlace(index)
            else:
                copies.append(OutputCopy(result, index))
        # Allocations that became outputs leave the arena; the others close ranks.
        kept = [index for index in range(len(self.allocations)) if index not in moved]
        number = {old: new for new, old in enumerate(kept)}

        def settle(argument: Tensor | Size) -> Tensor | Size:
            if not isinstance(argument, Tensor) or not isinstance(argument.place, ArenaPlace):
                return argument
            old = argument.place.index
            return replace(argument, place=moved[old] if old in moved else ArenaPlace(number[old]))

        return ExecutionPlan(
            symbols=_symbols(inputs),
            inputs=inputs,
            outputs=tuple(replace(result, place=OutputPlace(i)) for i, result in enumerate(results)),
            constants=tuple(self.constants),
            calls=tuple(replace(call, arguments=tuple(map(settle, call.arguments))) for call in self.calls),
            allocations=tuple(self.allocations[index] for index in kept),
            copies=tuple(replace(copy, source=settle(copy.source)) for copy in copies),
            checks=tuple(self.checks),
        )


def _dtype_and_shape(ty: tvm.ir.Type, node: str) -> tuple[str, tuple[Size, ...]]:
    if not isinstance(ty, relax.TensorType) or not isinstance(ty.shape, relax.ShapeExpr):
        raise InternalError(f"node {node}: no tensor of known shape, but {ty}")
    return str(ty.dtype), plain_shape(ty.shape.values)


def _symbols(inputs: Sequence[Tensor]) -> tuple[tirx.Var, ...]:
    """The variables that stand as dimensions of inputs, in order of appearance."""
    seen: dict[tirx.Var, None] = {}
    for tensor in inputs:
        for dim in tensor.shape:
            if not isinstance(dim, int):
                if not isinstance(dim, tirx.Var):
                    raise InternalError(f"an input's dimension is neither a number nor a symbol: {dim}")
                seen.setdefault(dim)
    names = [symbol.name for symbol in seen]
    if len(set(names)) < len(names):
        raise InternalError(f"two symbols of the inputs share a name: {names}")
    return tuple(seen)
