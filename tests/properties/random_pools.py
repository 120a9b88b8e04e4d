"""Random pools: maximum, average and Lp, local and global, alone or in the packed layout behind a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from case_graph import CaseGraph
from hypothesis import strategies as st

LARGEST_SIZE = {1: 60, 2: 20, 3: 7}


@dataclass(frozen=True)
class PoolCase:
    """A pool; attributes that the operator doesn't have are None.

    Attributes:
        operator: The ONNX operator.
        data: Its input's shape.
        packed: Whether a pointwise convolution stands before it and a Relu behind it.
    """

    amplification: ClassVar[float] = 1.0

    operator: str
    data: tuple[int, ...]
    packed: bool
    symbolic_batch: bool
    kernel_shape: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None
    dilations: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    ceil_mode: int | None = None
    count_include_pad: int | None = None
    p: int | None = None

    def write(self, graph: CaseGraph) -> tuple[str, str]:
        """The pool, and what is around it."""
        x = graph.input(*self.data, symbolic=self.symbolic_batch, limit=64)
        if self.packed:
            channels = self.data[1]
            x = graph.node("Conv", [x, graph.constant(channels, channels, *[1] * (len(self.data) - 2))])
        anchor = graph.node(
            self.operator,
            [x],
            kernel_shape=self.kernel_shape,
            strides=self.strides,
            dilations=self.dilations,
            pads=self.pads,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
            p=self.p,
        )
        return anchor, graph.node("Relu", [anchor]) if self.packed else anchor


@st.composite
def pools(draw: st.DrawFn) -> PoolCase:
    """Any valid one."""
    kind = draw(st.sampled_from(["Max", "Average", "Lp"]))
    rank = draw(st.sampled_from([2, 2, 2, 1, 3]))
    batch = draw(st.integers(1, 2)), draw(st.one_of(st.integers(1, 9), st.integers(10, 40)))
    around = {"packed": draw(st.booleans()), "symbolic_batch": draw(st.sampled_from([False, False, True]))}
    power = draw(st.integers(1, 3)) if kind == "Lp" else None
    if draw(st.sampled_from([True, False, False, False])):
        sizes = draw(st.lists(st.integers(1, LARGEST_SIZE[rank]), min_size=rank, max_size=rank))
        return PoolCase(f"Global{kind}Pool", (*batch, *sizes), p=power, **around)
    sizes, kernel, strides, dilations, starts, ends = zip(*[draw(_axis(rank)) for _ in range(rank)], strict=True)
    return PoolCase(
        f"{kind}Pool",
        (*batch, *sizes),
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=(*starts, *ends),
        ceil_mode=draw(st.integers(0, 1)),
        count_include_pad=draw(st.integers(0, 1)) if kind == "Average" else None,
        p=power,
        **around,
    )


@st.composite
def _axis(draw: st.DrawFn, rank: int) -> tuple[int, ...]:
    """Size, kernel, stride, dilation, and padding at both ends, which is smaller than the kernel."""
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    dilation = draw(st.sampled_from([1, 1, 2]))
    start, end = draw(st.integers(0, kernel - 1)), draw(st.integers(0, kernel - 1))
    # Less than a stride may be missing for the first window.
    smallest = max(1, (kernel - 1) * dilation + 1 - start - end - (stride - 1))
    return draw(st.integers(smallest, max(smallest, LARGEST_SIZE[rank]))), kernel, stride, dilation, start, end
