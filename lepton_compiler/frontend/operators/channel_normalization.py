"""InstanceNormalization and GroupNormalization: channels, or groups of them, normalized by their own moments.

Moments are taken in two passes: the mean first, then the mean of the squared distances from it. The difference
``E[x^2] - E[x]^2`` cancels where the mean is large beside the deviation. What rounding leaves of the mean's error is
measured in the second pass and taken out of both moments (Chan, Golub and LeVeque, "Algorithms for Computing the Sample
Variance", 1983, equation 1.7).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import relax, te, tirx

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, Size, dtype_of, shape_of
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.run_time_checks import require_equal, require_per_channel
from lepton_compiler.frontend.shape_values import same_size


@converter("InstanceNormalization")
def instance_normalization(conversion: Conversion) -> relax.Expr:
    """Each channel of each example normalized by its own mean and variance."""
    require_per_channel(conversion, (1, 2))
    channels = shape_of(conversion.tensor(0))[1]
    return _normalized(conversion, conversion.tensor(1), conversion.tensor(2), channels)


@converter("GroupNormalization")
def group_normalization(conversion: Conversion) -> relax.Expr:
    """Each group of channels normalized together; before version 21 scale and bias were given by group."""
    channels = shape_of(conversion.tensor(0))[1]
    scale, bias = (_by_channel(conversion, conversion.tensor(i), channels) for i in (1, 2))
    return _normalized(conversion, scale, bias, conversion.attribute("num_groups"))


def _by_channel(conversion: Conversion, values: relax.Expr, channels: Size) -> relax.Expr:
    groups = shape_of(values)[0]
    if same_size(groups, channels):
        return values
    if not isinstance(groups, int) or not isinstance(channels, int):
        require_equal(conversion, "the length of scale and bias", [groups], [channels])
        return values
    column = relax.op.reshape(values, [groups, 1])
    return conversion.emit(relax.op.reshape(relax.op.broadcast_to(column, [groups, channels // groups]), [channels]))


def _normalized(conversion: Conversion, scale: relax.Expr, bias: relax.Expr, groups: Size) -> relax.Expr:
    x = conversion.tensor(0)
    shape = shape_of(x)
    batch, channels, *spatial = shape
    members = 1 if groups is channels else channels // groups
    rows = conversion.emit(relax.op.reshape(x, [batch, groups, members, math.prod(spatial)]))
    epsilon = conversion.attribute("epsilon", 1e-5)
    dtype = dtype_of(x)
    wide = dtype if dtype == "float64" else "float32"

    def compute(data: te.Tensor, factors: te.Tensor, shifts: te.Tensor) -> te.Tensor:
        return _normalize_rows(data, factors, shifts, epsilon, wide)

    result = conversion.emit_te(compute, rows, scale, bias, name=conversion.op.lower())
    return relax.op.reshape(result, shape)


def _normalize_rows(data: te.Tensor, scale: te.Tensor, bias: te.Tensor, epsilon: float, wide: str) -> te.Tensor:
    """Normalizes the last two axes of ``[batch, groups, members, place]``; ``wide`` is the type to compute in."""
    batch, groups, members, places = data.shape
    count = (members * places).astype(wide)

    def row_mean(name: str, value: Callable[..., tirx.Expr]) -> te.Tensor:
        member, place = te.reduce_axis((0, members), "member"), te.reduce_axis((0, places), "place")
        total = te_compute(
            [batch, groups],
            lambda n, g: te.sum(value(n, g, member, place), axis=[member, place]),
            name=f"{name}_sum",
        )
        return te_compute([batch, groups], lambda n, g: total[n, g] / count, name=name)

    mean = row_mean("mean", lambda *i: data(*i).astype(wide))

    def distance(n: tirx.Var, g: tirx.Var, member: tirx.Var, place: tirx.Var) -> tirx.Expr:
        return data[n, g, member, place].astype(wide) - mean[n, g]

    rest = row_mean("rest", distance)
    power = row_mean("power", lambda *i: distance(*i) * distance(*i))
    inverse = te_compute(
        [batch, groups],
        lambda n, g: (
            tirx.const(1, wide)
            / te.sqrt(te.max(power[n, g] - rest[n, g] * rest[n, g], tirx.const(0, wide)) + tirx.const(epsilon, wide))
        ),
        name="inverse",
    )

    def element(n: tirx.Var, g: tirx.Var, member: tirx.Var, place: tirx.Var) -> tirx.Expr:
        channel = g * members + member
        normalized = (distance(n, g, member, place) - rest[n, g]) * inverse[n, g]
        return (normalized * scale[channel].astype(wide) + bias[channel].astype(wide)).astype(data.dtype)

    return te_compute(data.shape, element, name="normalized")
