"""Random convolutions: 1 to 3 axes, plain and transposed, grouped and depthwise, with any geometry and epilogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from case_graph import CaseGraph
from epilogues import Epilogue, epilogues
from hypothesis import strategies as st

LARGEST_SIZE = {1: 60, 2: 20, 3: 7}
"""Of an input's axis, by the number of spatial axes."""


@dataclass(frozen=True)
class ConvolutionCase:
    """A Conv or ConvTranspose; shapes and attributes are those of its ONNX node."""

    amplification: ClassVar[float] = 1.0

    transposed: bool
    data: tuple[int, ...]
    weight: tuple[int, ...]
    group: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    output_padding: tuple[int, ...] | None
    constant_weight: bool
    bias: bool
    symbolic_batch: bool
    epilogue: Epilogue

    def write(self, graph: CaseGraph) -> tuple[str, str]:
        """The convolution, then its epilogue."""
        inputs = [graph.input(*self.data, symbolic=self.symbolic_batch)]
        inputs.append(graph.constant(*self.weight) if self.constant_weight else graph.input(*self.weight, limit=8))
        outputs = self.weight[1] * self.group if self.transposed else self.weight[0]
        if self.bias:
            inputs.append(graph.constant(outputs))
        anchor = graph.node(
            "ConvTranspose" if self.transposed else "Conv",
            inputs,
            group=self.group,
            strides=self.strides,
            dilations=self.dilations,
            pads=self.pads,
            output_padding=self.output_padding,
        )
        shape = (self.data[0], outputs, *self._output_sizes())
        return anchor, self.epilogue.write(graph, anchor, shape, 1, self.symbolic_batch)

    def _output_sizes(self) -> list[int]:
        rank = len(self.strides)
        sizes = []
        for axis, (size, stride) in enumerate(zip(self.data[2:], self.strides, strict=True)):
            reach = (self.weight[2 + axis] - 1) * self.dilations[axis] + 1
            pad = self.pads[axis] + self.pads[rank + axis]
            if self.transposed:
                more = self.output_padding[axis] if self.output_padding is not None else 0
                sizes.append((size - 1) * stride + reach - pad + more)
            else:
                sizes.append((size + pad - reach) // stride + 1)
        return sizes


CHANNELS = st.one_of(st.integers(1, 9), st.sampled_from([16, 32]), st.integers(10, 50))


@st.composite
def _channels(draw: st.DrawFn) -> tuple[int, int, int]:
    """Groups, input channels of a group, output channels of a group."""
    kind = draw(st.sampled_from(["plain", "plain", "grouped", "depthwise"]))
    if kind == "plain":
        return 1, draw(CHANNELS), draw(CHANNELS)
    if kind == "grouped":
        sizes = st.sampled_from([1, 2, 3, 4, 8, 16])
        return draw(st.integers(2, 5)), draw(sizes), draw(sizes)
    return draw(CHANNELS), 1, draw(st.sampled_from([1, 1, 1, 2, 3]))


@st.composite
def convolutions(draw: st.DrawFn) -> ConvolutionCase:
    """Any valid one."""
    transposed = draw(st.sampled_from([False, False, True]))
    rank = draw(st.sampled_from([2, 2, 2, 1, 3]))
    group, inputs, outputs = draw(_channels())
    axes = [_transposed_axis if transposed else _axis] * rank
    sizes, kernel, strides, dilations, starts, ends, more = zip(*[draw(axis(rank)) for axis in axes], strict=True)
    return ConvolutionCase(
        transposed=transposed,
        data=(draw(st.integers(1, 3)), group * inputs, *sizes),
        weight=(group * inputs, outputs, *kernel) if transposed else (group * outputs, inputs, *kernel),
        group=group,
        strides=strides,
        dilations=dilations,
        pads=(*starts, *ends),
        output_padding=more if any(more) else None,
        constant_weight=draw(st.sampled_from([True, True, True, True, False])),
        bias=draw(st.booleans()),
        symbolic_batch=draw(st.sampled_from([False, False, False, True])),
        epilogue=draw(epilogues()),
    )


@st.composite
def _window(draw: st.DrawFn) -> tuple[int, int, int]:
    """Kernel, stride and dilation of one axis; most often those of a 1x1 or 3x3 convolution."""
    usual = st.sampled_from([(1, 1, 1), (3, 1, 1), (3, 2, 1)])
    return draw(usual | st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)))


@st.composite
def _axis(draw: st.DrawFn, rank: int) -> tuple[int, ...]:
    """Size, kernel, stride, dilation, padding at both ends, and nothing more."""
    kernel, stride, dilation = draw(_window())
    start, end = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    smallest = max(1, (kernel - 1) * dilation + 1 - start - end)
    return draw(st.integers(smallest, max(smallest, LARGEST_SIZE[rank]))), kernel, stride, dilation, start, end, 0


@st.composite
def _transposed_axis(draw: st.DrawFn, rank: int) -> tuple[int, ...]:
    """The same, with padding that leaves an element of the output, and the output's own padding."""
    kernel, stride, dilation = draw(_window())
    size = draw(st.integers(1, LARGEST_SIZE[rank] // 2))
    whole = (size - 1) * stride + (kernel - 1) * dilation + 1
    start = draw(st.integers(0, min(3, whole - 1)))
    end = draw(st.integers(0, min(3, whole - 1 - start)))
    return size, kernel, stride, dilation, start, end, draw(st.integers(0, stride - 1))
