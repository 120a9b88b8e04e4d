"""Operators that treat every element alike, so that they commute with any move of elements."""

from __future__ import annotations

_UNARY = (
    "abs acos acosh asin asinh astype atan atanh bitwise_not ceil clip cos cosh erf exp floor isfinite isinf isnan log "
    "logical_not negative round rsqrt sigmoid sign sin sinh sqrt square tan tanh trunc nn.gelu nn.gelu_tanh "
    "nn.leakyrelu nn.relu nn.selu nn.silu nn.softplus"
)
_BINARY = (
    "add atan2 bitwise_and bitwise_or bitwise_xor divide equal floor_divide floor_mod greater greater_equal left_shift "
    "less less_equal log_add_exp logical_and logical_or logical_xor maximum minimum mod multiply not_equal power "
    "right_shift subtract"
)

ELEMENTWISE = frozenset(f"relax.{name}" for name in (*_UNARY.split(), *_BINARY.split(), "where"))
"""Names of all elementwise operators; those with several operands broadcast them."""
