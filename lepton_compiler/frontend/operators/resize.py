"""Resize and Upsample: nearest, linear and cubic interpolation along any axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import (
    Conversion,
    ConversionError,
    Size,
    dtype_of,
    rank_of,
    shape_of,
    tensor_constant,
)
from lepton_compiler.frontend.operators.interpolation import AxisTable, ResizeMode, axis_table
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.shape_values import Ratio, ShapeValue, same_size, simplify

# A size to try whether a rule that was found for numbers holds for a symbolic size too.
_SAMPLE_SIZE = 24


@dataclass(frozen=True)
class _Axis:
    """One axis that changes: its size before and after, the scale (None: their ratio), and the region of interest."""

    number: int
    size: Size
    resized: Size
    scale: float | None
    roi: tuple[float, float] = (0.0, 1.0)


@converter("Upsample")
def upsample(conversion: Conversion) -> relax.Expr:
    """Resize by scales, positions not centred (up to version 9)."""
    scales = conversion.attribute("scales", None)
    scales = conversion.constant(1) if scales is None else np.asarray(scales, np.float32)
    return _resize_asymmetric(conversion, scales)


@converter("Resize", since=10)
def resize_10(conversion: Conversion) -> relax.Expr:
    """Resize by scales, positions not centred (version 10 only)."""
    return _resize_asymmetric(conversion, conversion.constant(1))


def _resize_asymmetric(conversion: Conversion, scales: np.ndarray) -> relax.Expr:
    mode = ResizeMode(conversion.attribute("mode", "nearest"), "asymmetric", "floor")
    x = conversion.tensor(0)
    axes = [
        _scaled(axis, size, float(scale)) for axis, (size, scale) in enumerate(zip(shape_of(x), scales, strict=True))
    ]
    return _resize(conversion, x, mode, axes, 0.0)


@converter("Resize", since=11)
def resize(conversion: Conversion) -> relax.Expr:
    """Resize by scales or to sizes, with ONNX's coordinate transformations."""
    x = conversion.tensor(0)
    mode = ResizeMode(
        conversion.attribute("mode", "nearest"),
        conversion.attribute("coordinate_transformation_mode", "half_pixel"),
        conversion.attribute("nearest_mode", "round_prefer_floor"),
        conversion.attribute("cubic_coeff_a", -0.75),
        bool(conversion.attribute("exclude_outside", 0)),
        bool(conversion.attribute("antialias", 0)),
    )
    axes = conversion.attribute("axes", None)
    axes = list(range(rank_of(x))) if axes is None else [axis % rank_of(x) for axis in axes]
    changes = _by_sizes(conversion, x, axes) if conversion.has(3) else _by_scales(conversion, x, axes)
    if mode.coordinates == "tf_crop_and_resize":
        roi = conversion.constant(1).astype(float)
        changes = [
            _Axis(c.number, c.size, c.resized, c.scale, (roi[i], roi[len(changes) + i])) for i, c in enumerate(changes)
        ]
    return _resize(conversion, x, mode, changes, conversion.attribute("extrapolation_value", 0.0))


def _scaled(axis: int, size: Size, scale: float) -> _Axis:
    if isinstance(size, int):
        return _Axis(axis, size, math.floor(size * scale), scale)
    if scale == int(scale):
        return _Axis(axis, size, simplify(size * int(scale)), scale)
    if 1 / scale == int(1 / scale):
        return _Axis(axis, size, simplify(tirx.floordiv(size, int(1 / scale))), scale)
    raise ConversionError(f"axis {axis} has a symbolic size and the scale {scale}; only whole factors can be compiled")


def _by_scales(conversion: Conversion, x: relax.Expr, axes: Sequence[int]) -> list[_Axis]:
    value = conversion.inputs[2]
    scales = value.values.reshape(-1) if isinstance(value, ShapeValue) else conversion.constant(2).reshape(-1)
    changes = []
    for axis, scale in zip(axes, scales, strict=True):
        size = shape_of(x)[axis]
        if isinstance(scale, Ratio):
            resized = simplify(tirx.floordiv(scale.numerator * size, scale.denominator))
            changes.append(_Axis(axis, size, resized, None))
        else:
            changes.append(_scaled(axis, size, float(scale)))
    return changes


def _by_sizes(conversion: Conversion, x: relax.Expr, axes: Sequence[int]) -> list[_Axis]:
    sizes, shape = conversion.sizes(3), shape_of(x)
    policy = conversion.attribute("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return [_Axis(axis, shape[axis], size, None) for axis, size in zip(axes, sizes, strict=True)]
    if not all(isinstance(size, int) for size in (*sizes, *(shape[axis] for axis in axes))):
        raise ConversionError("keep_aspect_ratio_policy needs fixed sizes; set them with --input-shapes")
    ratios = [size / shape[axis] for axis, size in zip(axes, sizes, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [_Axis(axis, shape[axis], math.floor(scale * shape[axis] + 0.5), scale) for axis in axes]


def _resize(
    conversion: Conversion, x: relax.Expr, mode: ResizeMode, axes: Sequence[_Axis], extrapolation: float
) -> relax.Expr:
    crops = mode.coordinates == "tf_crop_and_resize"
    changed = [
        axis for axis in axes if crops or not same_size(axis.size, axis.resized) or axis.scale not in (None, 1.0)
    ]
    if not changed:
        return x
    if mode.mode == "nearest" and not crops:
        return _nearest(conversion, x, mode, changed)
    dtype = dtype_of(x)
    result = x if dtype.startswith("float") else conversion.emit(relax.op.astype(x, "float32"))
    outside = []
    for axis in changed:
        if not (isinstance(axis.size, int) and isinstance(axis.resized, int)):
            raise ConversionError(f"{mode.mode} interpolation needs fixed sizes; set them with --input-shapes")
        table = axis_table(mode, axis.size, axis.resized, _scale(axis), axis.roi)
        outside.append((axis.number, table.outside))
        result = conversion.emit(_interpolate(conversion, result, axis.number, table))
    if crops and any(mask.any() for _, mask in outside):
        result = _extrapolate(conversion, result, outside, extrapolation)
    return result if dtype.startswith("float") else relax.op.astype(result, dtype)


def _scale(axis: _Axis) -> float:
    return axis.resized / axis.size if axis.scale is None else axis.scale


def _nearest(conversion: Conversion, x: relax.Expr, mode: ResizeMode, axes: Sequence[_Axis]) -> relax.Expr:
    """All axes at once: every element is a copy of one of the input's."""
    rules = {axis.number: _nearest_rule(mode, axis) for axis in axes}
    tables = [tensor_constant(rule) for rule in rules.values() if isinstance(rule, np.ndarray)]
    shape = shape_of(x)
    for axis in axes:
        shape[axis.number] = axis.resized

    def compute(data: te.Tensor, sizes: list[Any], *lookups: te.Tensor) -> te.Tensor:
        def element(*index: tirx.Var) -> tirx.Expr:
            place, unused = list(index), iter(lookups)
            for axis, rule in rules.items():
                place[axis] = tirx.floordiv(index[axis], rule) if isinstance(rule, int) else next(unused)(index[axis])
            return data(*place)

        return te_compute(sizes, element, name="resize_nearest", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, shape, *tables, name="resize_nearest")


def _nearest_rule(mode: ResizeMode, axis: _Axis) -> int | np.ndarray:
    """A whole factor that output indices are divided by, or a table of input indices."""
    scale, resized = axis.scale, axis.resized
    if scale is None:
        quotient = simplify(tirx.floordiv(tirx.convert(resized), tirx.convert(axis.size)))
        whole = isinstance(quotient, int) and same_size(quotient * axis.size, resized)
        scale = float(quotient) if whole else None
    if scale is not None and scale == int(scale):
        sample = axis_table(mode, _SAMPLE_SIZE, _SAMPLE_SIZE * int(scale), scale).indices[:, 0]
        if (sample == np.arange(len(sample)) // int(scale)).all():
            return int(scale)
    if not (isinstance(axis.size, int) and isinstance(resized, int)):
        raise ConversionError(
            f"axis {axis.number} is resized from {axis.size} to {resized}; with symbolic sizes only whole factors can "
            "be compiled, set the sizes with --input-shapes"
        )
    return axis_table(mode, axis.size, resized, _scale(axis)).indices[:, 0].astype(np.int32)


def _interpolate(conversion: Conversion, x: relax.Expr, axis: int, table: AxisTable) -> relax.Expr:
    """Weighted sums along one axis."""
    taps = table.indices.shape[1]
    dtype = dtype_of(x)

    def compute(data: te.Tensor, indices: te.Tensor, weights: te.Tensor) -> te.Tensor:
        shape = [*data.shape[:axis], indices.shape[0], *data.shape[axis + 1 :]]

        def element(*i: tirx.Var) -> tirx.Expr:
            terms = [
                data(*i[:axis], indices(i[axis], tap), *i[axis + 1 :]) * weights(i[axis], tap) for tap in range(taps)
            ]
            return sum(terms[1:], terms[0])

        return te_compute(shape, element, name="resize")

    indices = tensor_constant(table.indices.astype(np.int32))
    return conversion.call_te(compute, x, indices, tensor_constant(table.weights.astype(dtype)), name="resize")


def _extrapolate(
    conversion: Conversion, x: relax.Expr, outside: Sequence[tuple[int, np.ndarray]], value: float
) -> relax.Expr:
    masks = [tensor_constant(mask) for _, mask in outside]

    def compute(data: te.Tensor, *flags: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            hit = tirx.any(*[flag(i[axis]) for (axis, _), flag in zip(outside, flags, strict=True)])
            return tirx.Select(hit, tirx.const(value, data.dtype), data(*i))

        return te_compute(data.shape, element, name="extrapolate", tag=topi.tag.INJECTIVE)

    return conversion.emit_te(compute, x, *masks, name="extrapolate")
