"""Padding of sliding windows (convolution, pooling) as ONNX's ``auto_pad`` and ``pads`` attributes define it.

No operator lives here; converters of windowed operators share it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from lepton_compiler.frontend.conversion import Conversion, Size
from lepton_compiler.frontend.shape_values import simplify


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes.

    Attributes:
        kernel: Extent along each axis.
        strides: Step along each axis.
        dilations: Distance of neighbouring taps along each axis.
        pads: Elements added before every axis, then after every axis; expressions where the input's size is symbolic.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[Size, ...]

    @property
    def static_pads(self) -> bool:
        """Whether the padding is plain numbers."""
        return all(isinstance(pad, int) for pad in self.pads)

    def begin(self, axis: int) -> Size:
        """Padding before spatial axis ``axis``."""
        return self.pads[axis]

    def end(self, axis: int) -> Size:
        """Padding after spatial axis ``axis``."""
        return self.pads[len(self.kernel) + axis]


def read_window(conversion: Conversion, kernel: list[int], spatial: list[Size]) -> Window:
    """The window that a node's attributes describe over an input with the given spatial sizes."""
    count = len(kernel)
    strides = conversion.attribute("strides", [1] * count)
    dilations = conversion.attribute("dilations", [1] * count)
    mode = conversion.attribute("auto_pad", "NOTSET")
    pads: list[Size] = [0] * (2 * count)
    if mode == "NOTSET":
        pads = list(conversion.attribute("pads", pads))
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(count):
            total = _same_padding(spatial[axis], kernel[axis], strides[axis], dilations[axis])
            small = total // 2 if isinstance(total, int) else tirx.floordiv(total, 2)
            large = total - small
            begin, end = (small, large) if mode == "SAME_UPPER" else (large, small)
            pads[axis], pads[count + axis] = begin, end
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(pads))


def _same_padding(size: Size, kernel: int, stride: int, dilation: int) -> Size:
    """Padding that makes the output's size ``ceil(size / stride)``."""
    reach = (kernel - 1) * dilation + 1
    if isinstance(size, int):
        return max((-(-size // stride) - 1) * stride + reach - size, 0)
    if stride == 1:
        return reach - 1
    return simplify(tirx.max((tirx.floordiv(size + (stride - 1), stride) - 1) * stride + reach - size, 0))
