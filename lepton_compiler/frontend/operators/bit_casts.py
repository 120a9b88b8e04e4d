"""BitCast: the same bits, read as another element type of the same width."""

from __future__ import annotations

import onnx
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, dtype_of
from lepton_compiler.frontend.operators.registry import converter


@converter("BitCast")
def bit_cast(conversion: Conversion) -> relax.Expr:
    """Every element's bits as an element of type ``to``."""
    x = conversion.tensor(0)
    to = onnx.helper.tensor_dtype_to_np_dtype(conversion.attribute("to"))
    if "bool" in (dtype_of(x), str(to)):
        # A boolean is a byte that is 0 or 1.
        return relax.op.astype(x, str(to))

    def compute(data: te.Tensor) -> te.Tensor:
        return te_compute(
            data.shape, lambda *i: tirx.reinterpret(str(to), data(*i)), name="bit_cast", tag=topi.tag.ELEMWISE
        )

    return conversion.call_te(compute, x, name="bit_cast")
