"""HannWindow, HammingWindow and BlackmanWindow whose length is an input known only when the model runs.

    w[n] = a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N),   N = length, or length - 1 where the window is symmetric

Where the length is known, ONNX's function bodies give constants.
"""

from __future__ import annotations

import math

import onnx
from tvm import relax, tirx

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion
from lepton_compiler.frontend.operators.registry import run_time_converter
from lepton_compiler.frontend.run_time_checks import require_declared

_COEFFICIENTS = {
    "HannWindow": (0.5, 0.5, 0.0),
    "HammingWindow": (25 / 46, 21 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}


@run_time_converter(*_COEFFICIENTS, inputs=(0,))
def window_function(conversion: Conversion) -> relax.Expr:
    """The window of the declared length."""
    a0, a1, a2 = _COEFFICIENTS[conversion.op]
    (length,) = conversion.declared_shape()
    require_declared(conversion, 0, [length])
    span = length if conversion.attribute("periodic", 1) else length - 1
    to = str(onnx.helper.tensor_dtype_to_np_dtype(conversion.attribute("output_datatype", onnx.TensorProto.FLOAT)))

    def element(n: tirx.Var) -> tirx.Expr:
        angle = tirx.Cast("float64", n) * tirx.const(2 * math.pi / max(span, 1), "float64")
        first, second = tirx.cos(angle), tirx.cos(angle * tirx.const(2.0, "float64"))
        value = tirx.const(a0, "float64") - tirx.const(a1, "float64") * first + tirx.const(a2, "float64") * second
        return tirx.Cast(to, value)

    return conversion.call_te(lambda: te_compute((length,), element, name="window"), name=conversion.op.lower())
