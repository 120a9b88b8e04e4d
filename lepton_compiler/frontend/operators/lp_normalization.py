"""LpNormalization: each vector along an axis divided by its length."""

from __future__ import annotations

from tvm import relax

from lepton_compiler.frontend.conversion import Conversion, ConversionError
from lepton_compiler.frontend.operators.activation_functions import scalar
from lepton_compiler.frontend.operators.registry import converter


@converter("LpNormalization")
def lp_normalization(conversion: Conversion) -> relax.Expr:
    """``x / norm(x)`` along ``axis``; a vector of length 0 stays 0."""
    x = conversion.tensor(0)
    axis, p = conversion.attribute("axis", -1), conversion.attribute("p", 2)
    if p == 1:
        norm = relax.op.sum(relax.op.abs(x), [axis], keepdims=True)
    elif p == 2:
        norm = relax.op.sqrt(relax.op.sum(relax.op.multiply(x, x), [axis], keepdims=True))
    else:
        raise ConversionError(f"p must be 1 or 2, got {p}")
    norm = conversion.emit(norm)
    is_zero = relax.op.equal(norm, scalar(0, x))
    return relax.op.divide(x, relax.op.where(is_zero, scalar(1, x), norm))
