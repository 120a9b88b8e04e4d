"""DFT as a product with the matrix of roots of unity, whose entries are computed while importing.

    X[k] = sum_n x[n] * exp(-2 pi i k n / N)

The lengths that occur in audio front ends are hundreds, so the ``O(N^2)`` product costs less than it looks: it is one
small matrix multiplication that vectorises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, ConversionError, Size, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import converter, run_time_converter
from lepton_compiler.frontend.operators.run_time_axes import chosen_by_axes

_LONGEST = 4096


@converter("DFT", since=17)
def dft_by_attribute(conversion: Conversion) -> relax.Expr:
    """The discrete Fourier transform along the axis of an attribute (versions 17 to 19)."""
    return _transform(conversion, conversion.attribute("axis", 1))


@converter("DFT", since=20)
def dft_by_input(conversion: Conversion) -> relax.Expr:
    """The discrete Fourier transform along the axis of input 2."""
    axis = conversion.constant(2, None)
    return _transform(conversion, -2 if axis is None else int(np.asarray(axis).reshape(-1)[0]))


@run_time_converter("DFT", inputs=(2,))
def dft_by_run_time_axis(conversion: Conversion) -> relax.Expr:
    """The discrete Fourier transform along an axis that is known only when the model runs."""
    rank = rank_of(conversion.tensor(0))
    shape, declared = shape_of(conversion.tensor(0)), conversion.declared_shape()
    fitting = [
        axis
        for axis in range(rank - 1)
        if all(declared[other] == shape[other] for other in range(rank - 1) if other != axis)
    ]
    return chosen_by_axes(conversion, [((axis,), np.array(axis, np.int64)) for axis in fitting], 2)


def _transform(conversion: Conversion, axis: int) -> relax.Expr:
    x = conversion.tensor(0)
    axis %= rank_of(x)
    inverse = bool(conversion.attribute("inverse", 0))
    onesided = bool(conversion.attribute("onesided", 0))
    size = _fixed(shape_of(x)[axis])
    length = conversion.constant(1, None)
    default = 2 * (size - 1) if inverse and onesided else size
    length = default if length is None else int(np.asarray(length).reshape(-1)[0])
    taken = min(size, length // 2 + 1 if inverse and onesided else length)
    results = length // 2 + 1 if onesided and not inverse else length
    matrix = _roots(results, taken, length, inverse, half_spectrum=inverse and onesided)
    is_complex = shape_of(x)[-1] == 2
    parts = 1 if inverse and onesided else 2
    real, imaginary = (relax.const(part.astype(dtype_of(x)), dtype_of(x)) for part in (matrix.real, matrix.imag))

    def compute(data: te.Tensor, cosines: te.Tensor, sines: te.Tensor) -> te.Tensor:
        shape = [*data.shape[:axis], results, *data.shape[axis + 1 : -1], parts]
        n = te.reduce_axis((0, taken), "n")

        def element(*i: tirx.Var) -> Any:
            k, place = i[axis], (*i[:axis], n, *i[axis + 1 : -1])
            re = data(*place, 0)
            real_part, imaginary_part = re * cosines(k, n), re * sines(k, n)
            if is_complex:
                im = data(*place, 1)
                real_part, imaginary_part = real_part - im * sines(k, n), imaginary_part + im * cosines(k, n)
            return te.sum(real_part if parts == 1 else tirx.Select(i[-1] == 0, real_part, imaginary_part), axis=n)

        return te_compute(shape, element, name="dft")

    return conversion.call_te(compute, x, real, imaginary, name="dft")


def _fixed(size: Size) -> int:
    if not isinstance(size, int):
        raise ConversionError("the length of a Fourier transform must be known when the model is compiled")
    if size > _LONGEST:
        raise ConversionError(f"a Fourier transform of {size} elements; at most {_LONGEST} can be compiled")
    return size


def _roots(rows: int, columns: int, length: int, inverse: bool, half_spectrum: bool) -> np.ndarray:
    """The transform's matrix; ``half_spectrum`` counts the missing conjugate half of the input in its columns."""
    sign = 1 if inverse else -1
    phase = np.outer(np.arange(rows), np.arange(columns)) % length
    matrix = np.exp(sign * 2j * np.pi * phase / length)
    if inverse:
        matrix = matrix / length
    if half_spectrum:
        twice = [0 < k < (length + 1) // 2 for k in range(columns)]
        matrix = matrix * np.where(twice, 2, 1)
    return matrix
