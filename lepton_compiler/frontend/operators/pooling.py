"""MaxPool, AveragePool, LpPool and their global forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, ConversionError, Size, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.activation_functions import scalar
from lepton_compiler.frontend.operators.reductions import extreme
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.operators.staged_sums import staged_mean, staged_sum
from lepton_compiler.frontend.operators.wide_sums import in_float32
from lepton_compiler.frontend.operators.windows import Window, read_window
from lepton_compiler.frontend.run_time_checks import require_at_most

_MAX_POOL = {2: relax.op.nn.max_pool2d, 3: relax.op.nn.max_pool3d}
_AVERAGE_POOL = {2: relax.op.nn.avg_pool2d, 3: relax.op.nn.avg_pool3d}


@converter("GlobalAveragePool")
@in_float32
def global_average_pool(conversion: Conversion) -> relax.Expr:
    """Mean over all spatial axes, which stay with size 1."""
    x = conversion.tensor(0)
    return staged_mean(conversion, x, list(range(2, rank_of(x))), keepdims=True)


@converter("GlobalMaxPool")
def global_max_pool(conversion: Conversion) -> relax.Expr:
    """Maximum over all spatial axes, which stay with size 1."""
    x = conversion.tensor(0)
    return extreme(conversion, x, list(range(2, rank_of(x))), keepdims=True, largest=True)


@converter("GlobalLpPool")
@in_float32
def global_lp_pool(conversion: Conversion) -> relax.Expr:
    """``sum(|x| ** p) ** (1 / p)`` over all spatial axes."""
    x = conversion.tensor(0)
    p = conversion.attribute("p", 2)
    powers = relax.op.power(relax.op.abs(x), scalar(p, x))
    total = staged_sum(conversion, powers, list(range(2, rank_of(x))), keepdims=True)
    return relax.op.power(total, scalar(1 / p, x))


@converter("MaxPool")
def max_pool(conversion: Conversion) -> Any:
    """Maximum of each window; the second output is where it lies in the flattened input."""
    x = conversion.tensor(0)
    window = _fitted_window(conversion, x)
    if conversion.wants(1):
        return _max_pool_with_indices(conversion, x, window)
    strides, pads, dilations = list(window.strides), list(window.pads), list(window.dilations)
    if len(window.kernel) in _MAX_POOL:
        return _MAX_POOL[len(window.kernel)](x, list(window.kernel), strides, pads, dilations)
    padding = _lowest(dtype_of(x))
    return conversion.call_te(lambda data: _window_reduce(data, window, te.max, padding), x, name="max_pool")


@converter("AveragePool")
def average_pool(conversion: Conversion) -> relax.Expr:
    """Mean of each window; ``count_include_pad`` says whether padding counts as zeros."""
    x = conversion.tensor(0)
    window = _fitted_window(conversion, x)
    include_pad = bool(conversion.attribute("count_include_pad", 0))
    declared = read_window(conversion, list(window.kernel), shape_of(x)[2:])
    plain = all(d == 1 for d in window.dilations) and window.pads == declared.pads and window.static_pads
    if plain and len(window.kernel) in _AVERAGE_POOL:
        pool = _AVERAGE_POOL[len(window.kernel)]
        strides, pads = list(window.strides), list(window.pads)
        return pool(x, list(window.kernel), strides, pads, count_include_pad=include_pad)

    def compute(data: te.Tensor) -> te.Tensor:
        total = _window_reduce(data, window, te.sum, 0.0)
        return te_compute(
            total.shape,
            lambda *i: total(*i) / _covered(i[2:], data.shape[2:], window, declared, include_pad).astype(total.dtype),
            name="average_pool",
        )

    return conversion.call_te(compute, x, name="average_pool")


@converter("LpPool")
def lp_pool(conversion: Conversion) -> relax.Expr:
    """``sum(|x| ** p) ** (1 / p)`` of each window."""
    x = conversion.tensor(0)
    window = _fitted_window(conversion, x)
    p = conversion.attribute("p", 2)
    powers = conversion.emit(relax.op.power(relax.op.abs(x), scalar(p, x)))

    def compute(data: te.Tensor) -> te.Tensor:
        return _window_reduce(data, window, te.sum, 0.0)

    return relax.op.power(conversion.emit_te(compute, powers, name="lp_pool"), scalar(1 / p, x))


def _fitted_window(conversion: Conversion, x: relax.Expr) -> Window:
    """The node's window with padding behind the end, so that every step that counts has a whole window."""
    spatial = shape_of(x)[2:]
    kernel = list(conversion.attribute("kernel_shape"))
    window = read_window(conversion, kernel, spatial)
    if not window.static_pads:
        raise ConversionError("auto_pad with a stride needs fixed sizes; set them with --input-shapes")
    ceil_mode = bool(conversion.attribute("ceil_mode", 0)) and conversion.attribute("auto_pad", "NOTSET") == "NOTSET"
    count = len(kernel)
    pads = list(window.pads)
    for axis in range(count):
        reach = (kernel[axis] - 1) * window.dilations[axis] + 1
        padded = spatial[axis] + window.begin(axis) + window.end(axis)
        span, stride = padded - reach, window.strides[axis]
        if isinstance(span, int):
            steps = _ceil_steps(span, spatial[axis], window, axis) if ceil_mode else _floor_steps(span, stride)
            pads[count + axis] = max(pads[count + axis], pads[count + axis] + steps * stride - span)
        elif stride > 1:
            if ceil_mode:
                raise ConversionError("ceil_mode with a stride needs fixed sizes; set them with --input-shapes")
            require_at_most(conversion, f"the window along axis {2 + axis}", [reach], [padded])
    return Window(window.kernel, window.strides, window.dilations, tuple(pads))


def _floor_steps(span: int, stride: int) -> int:
    """Steps of whole windows; one that is larger than the padded input by less than a stride counts as the first.

    ONNX rounds the division towards zero: its shape inference and its reference implementation do as ONNX Runtime.
    """
    return span // stride if span >= 0 else -(-span // stride)


def _ceil_steps(span: int, size: Size, window: Window, axis: int) -> int:
    """Steps of the window when a partial one at the end counts, unless it would start in the end padding."""
    stride = window.strides[axis]
    steps = -(-span // stride)
    return steps - 1 if steps * stride >= size + window.begin(axis) else steps


def _sizes_of(data: te.Tensor, window: Window) -> list[Any]:
    sizes = []
    for axis in range(len(window.kernel)):
        reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1
        span = data.shape[2 + axis] + window.begin(axis) + window.end(axis) - reach
        sizes.append(tirx.floordiv(span, window.strides[axis]) + 1)
    return sizes


def _window_reduce(data: te.Tensor, window: Window, reduce: Callable[..., Any], padding: float) -> te.Tensor:
    """``reduce`` over every window of ``data``; elements outside are ``padding``."""
    count = len(window.kernel)
    padded = topi.nn.pad(
        data, [0, 0, *window.pads[:count]], [0, 0, *window.pads[count:]], tirx.const(padding, data.dtype)
    )
    taps = [te.reduce_axis((0, size), name=f"k{axis}") for axis, size in enumerate(window.kernel)]

    def element(*index: tirx.Var) -> Any:
        place = [index[2 + axis] * window.strides[axis] + taps[axis] * window.dilations[axis] for axis in range(count)]
        return reduce(padded(index[0], index[1], *place), axis=taps)

    return te_compute((*data.shape[:2], *_sizes_of(data, window)), element, name="pool")


def _covered(index: Sequence[Any], spatial: Sequence[Any], window: Window, declared: Window, include_pad: bool) -> Any:
    """Number of elements of a window that count: those of the input, and of its declared padding on request."""
    count: Any = tirx.const(1, "int64")
    for axis, i in enumerate(index):
        start = i * window.strides[axis] - window.begin(axis)
        step, taps = window.dilations[axis], window.kernel[axis]
        low = -declared.begin(axis) if include_pad else 0
        high = spatial[axis] + declared.end(axis) if include_pad else spatial[axis]
        first = tirx.max(tirx.floordiv(low - start + step - 1, step), 0)
        last = tirx.min(tirx.floordiv(high - start + step - 1, step), taps)
        count = count * tirx.max(last - first, 1).astype("int64")
    return count


def _max_pool_with_indices(conversion: Conversion, x: relax.Expr, window: Window) -> relax.Expr:
    count = len(window.kernel)
    column_major = bool(conversion.attribute("storage_order", 0))

    def compute(data: te.Tensor) -> list[te.Tensor]:
        spatial = data.shape[2:]
        taps = [te.reduce_axis((0, size), name=f"k{axis}") for axis, size in enumerate(window.kernel)]

        def candidates(*index: tirx.Var) -> Any:
            place = [
                index[2 + axis] * window.strides[axis] + taps[axis] * window.dilations[axis] - window.begin(axis)
                for axis in range(count)
            ]
            inside = tirx.all(*[tirx.all(p >= 0, p < size) for p, size in zip(place, spatial, strict=True)])
            # No branch: TVM vectorises those wrongly where two results are reduced together.
            nearest = [tirx.max(tirx.min(p, size - 1), 0) for p, size in zip(place, spatial, strict=True)]
            value = tirx.Select(inside, data(index[0], index[1], *nearest), tirx.min_value(data.dtype))
            where = _flat(place, spatial, column_major) + (index[0] * data.shape[1] + index[1]) * math.prod(spatial)
            return _LARGER((value, tirx.Select(inside, where.astype("int64"), tirx.max_value("int64"))), axis=taps)

        return list(te.compute((*data.shape[:2], *_sizes_of(data, window)), candidates, name="max_pool"))

    return conversion.call_te(compute, x, name="max_pool_indices")


def _flat(place: Sequence[Any], spatial: Sequence[Any], column_major: bool) -> Any:
    axes = list(zip(place, spatial, strict=True))
    position: Any = 0
    for index, size in reversed(axes) if column_major else axes:
        position = position * size + index
    return position


def _larger(left: tuple[Any, Any], right: tuple[Any, Any]) -> tuple[Any, Any]:
    """The larger value, and the smaller position where both are equal."""
    take_left = tirx.any(left[0] > right[0], tirx.all(left[0] == right[0], left[1] <= right[1]))
    return tirx.Select(take_left, left[0], right[0]), tirx.Select(take_left, left[1], right[1])


_LARGER = te.comm_reducer(
    _larger, lambda value, where: (tirx.min_value(value), tirx.max_value(where)), name="max_with_position"
)


def _lowest(dtype: str) -> float:
    return -math.inf if dtype.startswith(("float", "bfloat")) else tirx.min_value(dtype).value
