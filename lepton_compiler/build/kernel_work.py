"""How much work a kernel is: operations of the model's arithmetic, and bytes that it has to move.

Counted from the kernels as fusion left them, so that no tile's padding is taken for work. Of a result that is longer
than what the kernel reads of it (output channels filled up to whole vectors), only what is read counts; where
activations are packed, the channels that fill the last vector are computed and count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx

from lepton_compiler.build.dim_expressions import Size, bind_sizes, plain_shape, substitute
from lepton_compiler.build.store_census import StoreWork, UncountableError, stores_of

_TYPICAL_SIZE = 64
"""What a symbol is taken for where two stages of one kernel are compared."""
_LARGEST_SIZE = 1 << 31


@dataclass(frozen=True)
class CallWork:
    """The work of one call, in the model's symbols.

    Attributes:
        flops: Operations, integer ones included, a multiply-add being two; None where they can't be counted.
        moved_bytes: Bytes of operands and results, each element once.
        operand_type: Element type of what most of the operations read, such as ``"float32"``.
    """

    flops: Size | None
    moved_bytes: Size | None
    operand_type: str


UNKNOWN_WORK = CallWork(None, None, "")


@dataclass(frozen=True)
class KernelWork:
    """The work of a kernel, in its own symbols; ``parameters`` are the operands and results that bind them."""

    flops: Size | None
    moved_bytes: Size
    operand_type: str
    parameters: tuple[tirx.Var, ...]

    def of_call(self, arguments: Sequence[Sequence[Size] | Size]) -> CallWork:
        """The work where the kernel is called with ``arguments``: for each parameter a shape, or a scalar's value."""
        bound = bind_sizes(self.parameters, arguments[: len(self.parameters)])
        return CallWork(_bound(self.flops, bound), _bound(self.moved_bytes, bound), self.operand_type)


def count_work(module: tvm.IRModule) -> dict[str, KernelWork]:
    """The work of every kernel of a LOWERED module, by name."""
    return {
        var.name_hint: kernel_work(function)
        for var, function in module.functions.items()
        if isinstance(function, tirx.PrimFunc)
    }


def kernel_work(function: tirx.PrimFunc) -> KernelWork:
    """The work of one kernel that has no schedule yet."""
    parameters = tuple(function.params)
    buffers = [parameter for parameter in parameters if tirx.is_buffer_var(parameter)]
    analyzer = _analyzer(buffers)
    try:
        stores = stores_of(function)
    except UncountableError:
        sizes = [_elements(buffer) for buffer in buffers]
        dtype = str(buffers[-1].dtype) if buffers else ""
        return KernelWork(None, _bytes(zip(buffers, sizes, strict=True)), dtype, parameters)
    flops = [_flops(store, stores, buffers, analyzer) for store in stores]
    moved = _bytes((buffer, _touched(buffer, stores, analyzer)) for buffer in buffers)
    return KernelWork(_sum(flops), moved, _operand_type(stores, flops), parameters)


def _analyzer(buffers: Sequence[tirx.Buffer]) -> tvm.sym.Analyzer:
    """Simplifies sizes, which are positive."""
    analyzer = tvm.sym.Analyzer()
    symbols = {dim for buffer in buffers for dim in buffer.shape if isinstance(dim, tirx.Var)}
    for symbol in symbols:
        analyzer.bind(symbol, tvm.ir.Range(tirx.const(1, symbol.ty.dtype), tirx.const(_LARGEST_SIZE, symbol.ty.dtype)))
    return analyzer


def _flops(
    store: StoreWork, stores: Sequence[StoreWork], buffers: Sequence[tirx.Buffer], analyzer: tvm.sym.Analyzer
) -> Size:
    """Operations of one store; elements of an intermediate result that no other store reads are none."""
    if not store.operations:
        return 0
    results = _product(loop.extent for loop in store.loops if not loop.is_reduction)
    if store.is_stage and not any(store.buffer.same_as(buffer) for buffer in buffers):
        readers = [other for other in stores if not other.buffer.same_as(store.buffer)]
        results = _smaller(results, _loads(store.buffer, readers), analyzer)
    return _times(store.operations, results, *(loop.extent for loop in store.loops if loop.is_reduction))


def _touched(buffer: tirx.Buffer, stores: Sequence[StoreWork], analyzer: tvm.sym.Analyzer) -> Size:
    """Elements of a parameter that the kernel reads or writes: all, or fewer where it gathers or slices."""
    written = [_product(loop.extent for loop in store.loops) for store in stores if store.buffer.same_as(buffer)]
    accesses = _sum([_loads(buffer, stores), *written])
    loops = [loop.variable for store in stores for loop in store.loops]
    if _depends_on_more_than_shapes(accesses, loops):
        return _elements(buffer)
    return _smaller(_elements(buffer), accesses, analyzer)


def _depends_on_more_than_shapes(size: Size, loops: Sequence[tirx.Var]) -> bool:
    """Whether the number is known only inside of a loop, or only to who reads a tensor."""
    if isinstance(size, int):
        return False
    return bool(_found(size, tvm.ir.TensorLoad)) or any(variable in loops for variable in _found(size, tirx.Var))


def _loads(buffer: tirx.Buffer, stores: Sequence[StoreWork]) -> Size:
    """How often elements of ``buffer`` are loaded."""
    return _sum(
        [
            _times(count, *(loop.extent for loop in store.loops))
            for store in stores
            for loaded, count in store.loads
            if loaded.same_as(buffer)
        ]
    )


def _operand_type(stores: Sequence[StoreWork], flops: Sequence[Size]) -> str:
    """The narrowest type that the store with most operations loads, its own sums left out."""
    main = max(zip(stores, flops, strict=True), key=lambda pair: _rough(pair[1]), default=None)
    if main is None:
        return ""
    store = main[0]
    if store.multiplies_pairs:
        return "bfloat16"
    loaded = [buffer.dtype for buffer, _ in store.loads if not buffer.same_as(store.buffer)]
    return str(min(loaded or [store.buffer.dtype], key=lambda dtype: tvm.DataType(str(dtype)).bits))


def _elements(buffer: tirx.Buffer) -> Size:
    return _product(buffer.shape)


def _bytes(elements: Iterable[tuple[tirx.Buffer, Size]]) -> Size:
    # Elements of less than a byte fill one.
    return _sum([_times(-(-tvm.DataType(str(buffer.dtype)).bits // 8), count) for buffer, count in elements])


def _product(extents: Iterable[Size]) -> Size:
    return _times(1, *extents)


def _times(*factors: Size) -> Size:
    """A product with one constant factor in front; 0 where any factor is."""
    plain = [_wide(factor) for factor in factors]
    constant = math.prod(factor for factor in plain if isinstance(factor, int))
    result: Size = constant
    if constant:
        for factor in plain:
            if not isinstance(factor, int):
                result = factor if isinstance(result, int) and result == 1 else factor * _constant(result)
    return result


def _sum(terms: Sequence[Size]) -> Size:
    constant = sum(term for term in terms if isinstance(term, int))
    result: Size = constant
    for term in terms:
        if not isinstance(term, int):
            result = term if isinstance(result, int) and result == 0 else term + _constant(result)
    return result


def _smaller(a: Size, b: Size, analyzer: tvm.sym.Analyzer) -> Size:
    """The smaller one, where that is known for all sizes; else their minimum as an expression."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    for one, other in ((a, b), (b, a)):
        if _divides(one, other) or analyzer.can_prove(_constant(one) <= _constant(other)):
            return one
    return tirx.Min(_constant(a), _constant(b))


def _divides(a: Size, b: Size) -> bool:
    """Whether ``b`` is ``a`` with more factors; the analyzer does not see that n * m is m * n."""
    (constant, factors), (other_constant, other_factors) = _factors(a), _factors(b)
    return constant <= other_constant and not factors - other_factors


def _factors(size: Size) -> tuple[int, Counter[str]]:
    """A product as its constant and its other factors."""
    (plain,) = plain_shape([size])
    if isinstance(plain, int):
        return plain, Counter()
    if isinstance(plain, tirx.Mul):
        (left, more), (right, others) = _factors(plain.a), _factors(plain.b)
        return left * right, more + others
    return 1, Counter([str(plain)])


def _wide(size: Size) -> Size:
    """A Python integer, or an expression of 64 bits."""
    (plain,) = plain_shape([size])
    if isinstance(plain, int) or str(plain.ty.dtype) == "int64":
        return plain
    return tirx.Cast("int64", plain)


def _constant(size: Size) -> tirx.Expr:
    return tirx.const(size, "int64") if isinstance(size, int) else size


def _rough(size: Size) -> int:
    """A number to compare by: symbols are taken for a typical size; 0 where the size has no such number."""
    if isinstance(size, int):
        return size
    typical = {variable: tirx.const(_TYPICAL_SIZE, variable.ty.dtype) for variable in _found(size, tirx.Var)}
    try:
        simple = tvm.sym.Analyzer().simplify(substitute(size, typical))
    except tvm.error.InternalError:
        # A loop's own variable may count how far a number is shifted: a typical size is no such count.
        return 0
    return int(simple) if isinstance(simple, tirx.IntImm) else 0


def _bound(size: Size | None, bound: dict[tirx.Var, tirx.Expr]) -> Size | None:
    """``size`` in the model's symbols; None where it depends on a loop or on a tensor's values."""
    if size is None or isinstance(size, int):
        return size
    if _found(size, tvm.ir.TensorLoad) or any(variable not in bound for variable in _found(size, tirx.Var)):
        return None
    return plain_shape([tvm.sym.Analyzer().simplify(substitute(size, bound))])[0]


def _found(size: tirx.Expr, kind: type) -> list:
    found: list = []
    collect: Callable[[object], None] = found.append
    tvm_ffi.structural_walk(size, (kind, collect))
    return found
