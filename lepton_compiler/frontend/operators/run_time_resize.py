"""Resize and Upsample whose scales, sizes or region of interest are known only when the model runs.

The model declares the result's shape; positions and weights, which ``interpolation.py`` computes while importing where
it can, are computed by the kernel here, by the same rules and in double precision too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, ConversionError, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.interpolation import ResizeMode
from lepton_compiler.frontend.operators.registry import run_time_converter
from lepton_compiler.frontend.run_time_checks import all_of, contradicts, require_values

_REAL = "float64"


@dataclass(frozen=True)
class _Axis:
    """One axis: its place in the tensor and among the resized ones, its size before and after."""

    number: int
    order: int
    size: int
    resized: int


@dataclass(frozen=True)
class _Arguments:
    """The inputs that decide on positions; None where the node has none."""

    roi: te.Tensor | None
    scales: te.Tensor | None
    sizes: te.Tensor | None


@run_time_converter("Upsample", inputs=(1,))
def upsample(conversion: Conversion) -> relax.Expr:
    """Resize by scales, positions not centred."""
    mode = ResizeMode(conversion.attribute("mode", "nearest"), "asymmetric", "floor")
    return _resize(conversion, mode, (None, 1, None), "stretch")


@run_time_converter("Resize", inputs=(1, 2, 3))
def resize(conversion: Conversion) -> relax.Expr:
    """Resize by scales or to sizes, with ONNX's coordinate transformations."""
    if conversion.opset < 11:
        return _resize(conversion, ResizeMode(conversion.attribute("mode", "nearest"), "asymmetric", "floor"),
                       (None, 1, None), "stretch")  # fmt: skip
    mode = ResizeMode(
        conversion.attribute("mode", "nearest"),
        conversion.attribute("coordinate_transformation_mode", "half_pixel"),
        conversion.attribute("nearest_mode", "round_prefer_floor"),
        conversion.attribute("cubic_coeff_a", -0.75),
        bool(conversion.attribute("exclude_outside", 0)),
        bool(conversion.attribute("antialias", 0)),
    )
    crops = mode.coordinates == "tf_crop_and_resize"
    places = tuple(index if conversion.has(index) and (index != 1 or crops) else None for index in (1, 2, 3))
    return _resize(conversion, mode, places, conversion.attribute("keep_aspect_ratio_policy", "stretch"))


def _resize(conversion: Conversion, mode: ResizeMode, places: tuple[int | None, ...], policy: str) -> relax.Expr:
    x = conversion.tensor(0)
    axes = _axes(conversion, x)
    given = [conversion.tensor(place) for place in places if place is not None]
    _require_sizes(conversion, axes, places, policy)

    def arguments(tensors: Sequence[te.Tensor]) -> _Arguments:
        rest = iter(tensors)
        return _Arguments(*(next(rest) if place is not None else None for place in places))

    def scale(axis: _Axis, tensors: _Arguments) -> tirx.Expr:
        return _scale(axis, axes, tensors, policy)

    if mode.mode == "nearest":
        return _nearest(conversion, x, mode, axes, given, arguments, scale)
    dtype = dtype_of(x)
    for axis in axes:

        def compute(data: te.Tensor, *tensors: te.Tensor, axis: _Axis = axis) -> te.Tensor:
            known = arguments(tensors)
            return _interpolated(data, axis, mode, scale(axis, known), _region(axis, axes, known.roi))

        if axis.size != axis.resized or places[1] is not None:
            x = conversion.emit_te(compute, x, *given, name="resize")
    if mode.coordinates == "tf_crop_and_resize":
        x = _extrapolated(conversion, x, axes, given, arguments, scale)
    return x if dtype_of(x) == dtype else relax.op.astype(x, dtype)


def _require_sizes(conversion: Conversion, axes: Sequence[_Axis], places: tuple[int | None, ...], policy: str) -> None:
    """Scales or sizes must lead to the declared shape."""
    numbers = [place for place in places if place is not None]

    def holds(*values: Any) -> Any:
        rest = iter(values)
        roi, scales, sizes = (next(rest) if place is not None else None for place in places)
        return all_of(_fits(axis, axes, roi, scales, sizes, policy) for axis in axes)

    require_values(conversion, contradicts(*numbers), holds, *(conversion.tensor(number) for number in numbers))


def _fits(axis: _Axis, axes: Sequence[_Axis], roi: Any, scales: Any, sizes: Any, policy: str) -> Any:
    """Whether an axis gets its declared size; products of single precision, which others compute, are accepted too."""
    wanted = tirx.const(float(axis.resized), _REAL)
    if scales is not None:
        part = tirx.const(1.0, _REAL)
        if roi is not None:
            part = tirx.Cast(_REAL, roi[len(axes) + axis.order]) - tirx.Cast(_REAL, roi[axis.order])
        exact = tirx.floor(tirx.const(float(axis.size), _REAL) * part * tirx.Cast(_REAL, scales[axis.order]))
        single = tirx.const(float(axis.size), "float32") * tirx.Cast("float32", part)
        rounded = tirx.Cast(_REAL, tirx.floor(single * scales[axis.order]))
        return tirx.any(exact == wanted, rounded == wanted)
    if sizes is None:
        return tirx.const(True, "bool")
    if policy == "stretch":
        return sizes[axis.order] == axis.resized
    choose = tirx.min if policy == "not_larger" else tirx.max
    scale = tirx.Cast(_REAL, sizes[axes[0].order]) / tirx.const(float(axes[0].size), _REAL)
    for other in axes[1:]:
        scale = choose(scale, tirx.Cast(_REAL, sizes[other.order]) / tirx.const(float(other.size), _REAL))
    half = tirx.const(0.5 + 1e-6, _REAL)
    return tirx.abs(scale * tirx.const(float(axis.size), _REAL) - wanted) <= half


def _axes(conversion: Conversion, x: relax.Expr) -> list[_Axis]:
    numbers = conversion.attribute("axes", None)
    numbers = range(rank_of(x)) if numbers is None else [axis % rank_of(x) for axis in numbers]
    old, new = shape_of(x), conversion.declared_shape()
    if not all(isinstance(size, int) for size in old):
        raise ConversionError("its input's shape must be known when the model is compiled")
    return [_Axis(number, order, old[number], new[number]) for order, number in enumerate(numbers)]


def _scale(axis: _Axis, axes: Sequence[_Axis], tensors: _Arguments, policy: str) -> Any:
    if tensors.scales is not None:
        return tirx.Cast(_REAL, tensors.scales(axis.order))
    if policy == "stretch" or tensors.sizes is None:
        return tirx.const(axis.resized / axis.size, _REAL)
    ratios = [tirx.Cast(_REAL, tensors.sizes(other.order)) / tirx.const(other.size, _REAL) for other in axes]
    choose = tirx.min if policy == "not_larger" else tirx.max
    result = ratios[0]
    for ratio in ratios[1:]:
        result = choose(result, ratio)
    return result


def _region(axis: _Axis, axes: Sequence[_Axis], roi: te.Tensor | None) -> tuple[tirx.Expr, tirx.Expr]:
    if roi is None:
        return tirx.const(0.0, _REAL), tirx.const(1.0, _REAL)
    return tirx.Cast(_REAL, roi(axis.order)), tirx.Cast(_REAL, roi(len(axes) + axis.order))


def _position(
    coordinates: str, axis: _Axis, index: tirx.Expr, scale: tirx.Expr, roi: tuple[tirx.Expr, tirx.Expr]
) -> tirx.Expr:
    """Position in the input, as a real number, of output element ``index``."""
    x = tirx.Cast(_REAL, index)
    half, zero = tirx.const(0.5, _REAL), tirx.const(0.0, _REAL)
    last = float(axis.size - 1)
    centred = (x + half) / scale - half
    # The last position before the size is rounded down.
    stretched = scale * tirx.const(float(axis.size), _REAL) - tirx.const(1.0, _REAL)
    if coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and axis.resized > 1):
        return centred
    if coordinates == "half_pixel_symmetric":
        adjustment = tirx.const(float(axis.resized), _REAL) / (scale * tirx.const(float(axis.size), _REAL))
        return tirx.const(axis.size / 2, _REAL) * (tirx.const(1.0, _REAL) - adjustment) + centred
    if coordinates == "asymmetric":
        return x / scale
    if coordinates == "tf_crop_and_resize":
        start, end = roi
        if axis.resized > 1:
            step = (end - start) * tirx.const(last, _REAL) / stretched
            return start * tirx.const(last, _REAL) + x * step
        return half * (start + end) * tirx.const(last, _REAL)
    if coordinates == "align_corners":
        return x * tirx.const(last, _REAL) / stretched if axis.resized > 1 else zero
    if coordinates == "pytorch_half_pixel":
        return zero
    raise ConversionError(f'unknown coordinate transformation "{coordinates}"')


def _nearest(
    conversion: Conversion,
    x: relax.Expr,
    mode: ResizeMode,
    axes: Sequence[_Axis],
    given: Sequence[relax.Expr],
    arguments: Callable[[Sequence[te.Tensor]], _Arguments],
    scale: Callable[[_Axis, _Arguments], tirx.Expr],
) -> relax.Expr:
    shape = conversion.declared_shape()

    def compute(data: te.Tensor, *tensors: te.Tensor) -> te.Tensor:
        known = arguments(tensors)

        def element(*i: tirx.Var) -> tirx.Expr:
            place: list[tirx.Expr] = list(i)
            for axis in axes:
                roi = _region(axis, axes, known.roi)
                position = _position(mode.coordinates, axis, i[axis.number], scale(axis, known), roi)
                place[axis.number] = _clamped(_rounded(mode.nearest, position), axis)
            return data(*place)

        return te_compute(shape, element, name="resize_nearest", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, *given, name="resize_nearest")


def _rounded(rounding: str, position: tirx.Expr) -> tirx.Expr:
    half = tirx.const(0.5, _REAL)
    if rounding == "round_prefer_floor":
        return tirx.ceil(position - half)
    if rounding == "round_prefer_ceil":
        return tirx.floor(position + half)
    if rounding in ("floor", "ceil"):
        return tirx.floor(position) if rounding == "floor" else tirx.ceil(position)
    raise ConversionError(f'unknown rounding "{rounding}" of nearest neighbours')


def _clamped(index: tirx.Expr, axis: _Axis) -> Any:
    low, high = tirx.const(0, "int64"), tirx.const(axis.size - 1, "int64")
    return tirx.max(tirx.min(tirx.Cast("int64", index), high), low)


def _interpolated(
    data: te.Tensor, axis: _Axis, mode: ResizeMode, scale: tirx.Expr, roi: tuple[tirx.Expr, tirx.Expr]
) -> te.Tensor:
    """Weighted sums along one axis."""
    radius = {"linear": 1.0, "cubic": 2.0}.get(mode.mode)
    if radius is None:
        raise ConversionError(f'unknown resize mode "{mode.mode}"')
    one = tirx.const(1.0, _REAL)
    stretch = tirx.min(scale, one) if mode.antialias else one
    # Rounded sizes hide up to half an element of the scale.
    least = min((axis.resized - 0.5) / axis.size, 1.0) if mode.antialias else 1.0
    taps = 2 * math.ceil(radius / least)

    def neighbour(index: tirx.Var, tap: tirx.Var) -> tirx.Expr:
        position = _position(mode.coordinates, axis, index, scale, roi)
        return tirx.floor(position) + tirx.Cast(_REAL, tap) - tirx.const(taps / 2 - 1, _REAL)

    def raw_weight(index: tirx.Var, tap: tirx.Var) -> tirx.Expr:
        place = neighbour(index, tap)
        distance = tirx.abs(place - _position(mode.coordinates, axis, index, scale, roi)) * stretch
        weight = _linear(distance) if mode.mode == "linear" else _cubic(distance, mode.cubic_a)
        if not mode.exclude_outside:
            return weight
        inside = tirx.all(place >= tirx.const(0.0, _REAL), place <= tirx.const(axis.size - 1.0, _REAL))
        return tirx.Select(inside, weight, tirx.const(0.0, _REAL))

    weights = te_compute((axis.resized, taps), raw_weight, name="weights")
    places = te_compute((axis.resized, taps), lambda i, t: _clamped(neighbour(i, t), axis), name="places")
    dtype = str(data.dtype) if str(data.dtype).startswith("float") else "float32"

    def element(*i: tirx.Var) -> Any:
        index = i[axis.number]
        total, norm = tirx.const(0.0, _REAL), tirx.const(0.0, _REAL)
        for tap in range(taps):
            value = data(*i[: axis.number], places(index, tap), *i[axis.number + 1 :])
            total = total + tirx.Cast(_REAL, value) * weights(index, tap)
            norm = norm + weights(index, tap)
        return tirx.Cast(dtype, total / norm)

    shape = [*data.shape[: axis.number], axis.resized, *data.shape[axis.number + 1 :]]
    return te_compute(shape, element, name="resize")


def _linear(distance: tirx.Expr) -> Any:
    return tirx.max(tirx.const(0.0, _REAL), tirx.const(1.0, _REAL) - distance)


def _cubic(d: tirx.Expr, a: float) -> tirx.Expr:
    """Keys' cubic convolution kernel (IEEE Transactions on Acoustics, Speech, and Signal Processing 29, 1981)."""

    def number(value: float) -> tirx.Expr:
        return tirx.const(value, _REAL)

    near = (number(a + 2) * d - number(a + 3)) * d * d + number(1)
    far = number(a) * (((d - number(5)) * d + number(8)) * d - number(4))
    return tirx.Select(d <= number(1), near, tirx.Select(d < number(2), far, number(0)))


def _extrapolated(
    conversion: Conversion,
    x: relax.Expr,
    axes: Sequence[_Axis],
    given: Sequence[relax.Expr],
    arguments: Callable[[Sequence[te.Tensor]], _Arguments],
    scale: Callable[[_Axis, _Arguments], tirx.Expr],
) -> relax.Expr:
    """What lies outside of the input has a value of its own."""
    value = conversion.attribute("extrapolation_value", 0.0)

    def compute(data: te.Tensor, *tensors: te.Tensor) -> te.Tensor:
        known = arguments(tensors)

        def element(*i: tirx.Var) -> tirx.Expr:
            outside = []
            for axis in axes:
                roi = _region(axis, axes, known.roi)
                position = _position("tf_crop_and_resize", axis, i[axis.number], scale(axis, known), roi)
                outside += [position < tirx.const(0.0, _REAL), position > tirx.const(axis.size - 1.0, _REAL)]
            return tirx.Select(tirx.any(*outside), tirx.const(value, data.dtype), data(*i))

        return te_compute(data.shape, element, name="extrapolate", tag=topi.tag.INJECTIVE)

    return conversion.emit_te(compute, x, *given, name="extrapolate")
