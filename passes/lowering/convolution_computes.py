"""What convolutions compute, in tensor expressions whose loops are laid out for ``targets/cpu/convolution.py``.

    padded[n, c, h, w]     input with its border (stage left out where there is none)
    sums[n, ob, p, v]      sum over c, kh, kw of padded[n, c, y(p) * s + kh, x(p) * s + kw] * w[ob, c, kh, kw, v]
    output[n, o, h, w]     sums[n, o // v, h * width + w, o % v]

``p`` counts output pixels row by row and ``v`` the output channels of one vector. Any number of spatial axes works.
The block that sums carries the annotation ``lepton.anchor``, by which the schedule finds it after fusion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import sym, te, tirx

from lepton_compiler.core.tensor_expressions import te_compute, te_sum
from lepton_compiler.passes.lowering.row_major import Size, flatten, unflatten
from lepton_compiler.targets.cpu.bfloat16 import element_reader


@dataclass(frozen=True)
class Window:
    """How a kernel moves over the spatial axes; one entry an axis.

    Attributes:
        kernel: Kernel sizes.
        strides: Steps between neighbouring outputs.
        dilation: Steps between neighbouring kernel elements.
        padding_before: Zeros in front.
        padding_after: Zeros behind.
        input_dilation: Steps between neighbouring inputs; more than 1 only in transposed convolutions.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding_before: tuple[int, ...]
    padding_after: tuple[int, ...]
    input_dilation: tuple[int, ...]

    @property
    def needs_border(self) -> bool:
        """Whether the input has to be padded or spread out first."""
        borders = (*self.padding_before, *self.padding_after)
        return any(borders) or any(step != 1 for step in self.input_dilation)

    @property
    def is_pointwise(self) -> bool:
        """Whether each output pixel reads just the input pixel at its own place."""
        return not self.needs_border and all(size == 1 for size in (*self.kernel, *self.strides))

    def bordered_size(self, axis: int, size: Size) -> Size:
        """Size of a spatial axis with its border."""
        borders = self.padding_before[axis] + self.padding_after[axis]
        return _simplified((size - 1) * self.input_dilation[axis] + 1 + borders)

    def output_size(self, axis: int, size: Size) -> Size:
        """Number of outputs along a spatial axis of ``size`` inputs."""
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return _simplified((self.bordered_size(axis, size) - reach) // self.strides[axis] + 1)


def _simplified(size: Size) -> Size:
    """The size as Relax writes it: TVM's fusion takes sizes that are written in two ways for two sizes."""
    return size if isinstance(size, int) else sym.Analyzer().simplify(size)


def packed_convolution(data: te.Tensor, weight: te.Tensor, window: Window, groups: int, out_channels: int) -> te.Tensor:
    """Convolution with weights packed as ``[out_blocks, in_channels / groups, *kernel, lanes]``.

    Args:
        data: ``[batch, in_channels, *spatial]``.
        weight: Packed weights; with several groups, ``lanes`` divides the output channels of a group.
        window: How the kernel moves.
        groups: Number of groups.
        out_channels: Output channels, without those that packing added.

    Returns:
        ``[batch, out_channels, *output]``.
    """
    lanes = int(weight.shape[-1])
    in_group = int(weight.shape[1])
    blocks_in_group = int(weight.shape[0]) // groups
    bordered = with_border(data, window)
    output = tuple(window.output_size(i, size) for i, size in enumerate(data.shape[2:]))
    channel = te.reduce_axis((0, in_group), "channel")
    taps = [te.reduce_axis((0, size), f"tap{i}") for i, size in enumerate(window.kernel)]

    def sums(n: tirx.Var, block: tirx.Var, pixel: tirx.Var, lane: tirx.Var) -> tirx.Expr:
        place = unflatten(pixel, output)
        at = [position * window.strides[i] + taps[i] * window.dilation[i] for i, position in enumerate(place)]
        first = 0 if groups == 1 else block // blocks_in_group * in_group
        product = bordered(n, channel + first, *at) * weight(block, channel, *taps, lane)
        return te_sum(product, axis=[channel, *taps])

    pixels = math.prod(output[1:], start=output[0])
    accumulated = te_compute(
        (data.shape[0], weight.shape[0], pixels, lanes),
        sums,
        name="convolution",
        attrs={"lepton.anchor": "convolution", "lepton.groups": groups},
    )
    return te_compute(
        (data.shape[0], out_channels, *output),
        lambda n, o, *place: accumulated(n, o // lanes, flatten(place, output), o % lanes),
        name="convolution_output",
    )


def with_border(
    data: te.Tensor,
    window: Window,
    trailing: int = 0,
    *,
    dtype: str | None = None,
    border: tirx.Expr | None = None,
) -> te.Tensor:
    """The input with zeros around it, and between its pixels where ``window`` spreads them out.

    Args:
        data: ``[batch, channels, *spatial]``, and the channels of a vector behind where it is packed.
        window: How the kernel moves.
        trailing: Axes behind the spatial ones.
        dtype: ``"float32"`` widens stored bfloat16 on the way; the data's own where left out.
        border: What stands there in place of zeros.
    """
    if not window.needs_border:
        return data
    outside = tirx.const(0, dtype or data.dtype) if border is None else border
    count = len(window.kernel)
    read = data if dtype is None else element_reader(data)
    sizes = [window.bordered_size(i, data.shape[2 + i]) for i in range(count)]

    def value(n: tirx.Var, c: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        inside, at = [], []
        for i, position in enumerate(index[:count]):
            offset = position - window.padding_before[i]
            step = window.input_dilation[i]
            if window.padding_before[i] or step != 1:
                inside.append(offset >= 0)
            if window.padding_after[i] or step != 1:
                inside.append(offset < (data.shape[2 + i] - 1) * step + 1)
            if step != 1:
                inside.append(tirx.floormod(offset, step) == 0)
            at.append(offset // step if step != 1 else offset)
        return tirx.if_then_else(tirx.all(*inside), read(n, c, *at, *index[count:]), outside)

    shape = (*data.shape[:2], *sizes, *data.shape[len(data.shape) - trailing :])
    return te_compute(shape, value, name="bordered_input")
