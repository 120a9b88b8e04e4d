"""Axes of a roofline: what the machine reaches over operations a byte, room for all kernels, and their numbers.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures",
CACM 52 (4), 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lepton_compiler.evaluation.figure_files import GRID, INK, PALE
from lepton_compiler.evaluation.label_places import Box, Disc, place_labels
from lepton_compiler.evaluation.machine_probe import ArithmeticPeak, MachinePeaks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import BboxBase

_NUMBER_SIZE = 8
_DIGIT_WIDTH, _DIGIT_HEIGHT = 5.6, 9.0
"""Of a kernel's number, in points, with some room around it."""
_ROOF_STYLES = {"float32": "-", "bfloat16": "--", "int8": ":"}


@dataclass(frozen=True)
class _Room:
    """Factors from what is drawn to the ends of the axes; the vertical one has ``span`` below the highest roof."""

    left: float
    right: float
    below: float
    above: float
    span: float


_WIDE = _Room(left=3, right=12, below=2, above=2.5, span=100)
_NEAR = _Room(left=1.5, right=3, below=1.3, above=1.4, span=2)


@dataclass(frozen=True)
class RoofMark:
    """A kernel's place in the picture.

    Attributes:
        number: What it is called there.
        intensity: Operations for each byte that it must move.
        rate: GFLOP/s.
        area: Of its mark, in square points.
    """

    number: int
    intensity: float
    rate: float
    area: float

    @property
    def place(self) -> tuple[float, float]:
        """Where it stands, in the units of the axes."""
        return self.intensity, self.rate


def roofline_figure(
    peaks: MachinePeaks, marks: Sequence[RoofMark], title: str, *, zoom: bool = False
) -> tuple[Figure, Axes]:
    """A figure of 1600 by 1000 pixels with roofs, and room for the marks, which the caller draws.

    Args:
        peaks: The roofs.
        marks: What will be drawn.
        title: As plain text.
        zoom: Whether the axes are no longer than marks and roofs need, to tell marks apart that are near each other.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(10.0, 6.25), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    low, high = _intensities(marks, peaks, _NEAR if zoom else _WIDE)
    _draw_roofs(axes, peaks, low, high)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=_rates(marks, peaks, _NEAR if zoom else _WIDE))
    if zoom:
        # Within a decade or two powers of ten say too little.
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(FuncFormatter(_minor_text))
        axes.tick_params(which="both", labelsize=9)
    axes.set_xlabel("operations for each byte that the kernel reads or writes")
    axes.set_ylabel("GFLOP/s (integer operations included)")
    axes.set_title(title, loc="left", color=INK, parse_math=False)
    axes.grid(which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_legend(figure: Figure) -> None:
    """Below the axes, where it covers no kernel."""
    legend = figure.legend(loc="outside lower left", ncols=2, fontsize=7.5, frameon=False)
    for text in legend.get_texts():
        # A node may be called "$x_{1}$".
        text.set_parse_math(False)


def draw_numbers(figure: Figure, axes: Axes, named: Sequence[RoofMark], others: Sequence[RoofMark]) -> None:
    """Writes the numbers of ``named`` beside their marks, readable among each other and the other marks.

    The last thing to draw: places are those of the picture as it will be laid out.
    """
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()
    points_per_pixel = 72.0 / figure.dpi

    def box_of(extent: BboxBase) -> Box:
        center, size = (extent.min + extent.max) / 2 * points_per_pixel, extent.size * points_per_pixel
        return Box(float(center[0]), float(center[1]), float(size[0]), float(size[1]))

    def disc_of(mark: RoofMark) -> Disc:
        x, y = axes.transData.transform(mark.place) * points_per_pixel
        return Disc(float(x), float(y), (mark.area / np.pi) ** 0.5)

    discs = [disc_of(mark) for mark in named]
    sizes = [(_DIGIT_WIDTH * len(str(mark.number)) + _DIGIT_WIDTH, _DIGIT_HEIGHT) for mark in named]
    roofs = [box_of(text.get_window_extent()) for text in axes.texts]
    boxes = place_labels(discs, sizes, [disc_of(mark) for mark in others], box_of(axes.get_window_extent()), roofs)
    for mark, disc, box in zip(named, discs, boxes, strict=True):
        axes.annotate(
            str(mark.number),
            mark.place,
            (box.x - disc.x, box.y - disc.y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_NUMBER_SIZE,
            color=INK,
            zorder=5,
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )


def _minor_text(value: float, _: int | None) -> str:
    """Ticks at 2 and 5 of a decade have room for a number."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _intensities(marks: Sequence[RoofMark], peaks: MachinePeaks, room: _Room) -> tuple[float, float]:
    """Ends of the horizontal axis: room for every kernel and for every roof's ridge."""
    ridges = [peak.operations_per_second / peaks.memory.bytes_per_second for peak in peaks.best_arithmetic()]
    found = [mark.intensity for mark in marks if mark.intensity] + ridges
    return min(found) / room.left, max(found) * room.right


def _rates(marks: Sequence[RoofMark], peaks: MachinePeaks, room: _Room) -> tuple[float, float]:
    rates = [mark.rate for mark in marks if mark.rate]
    highest = max(peak.operations_per_second for peak in peaks.arithmetic) / 1e9
    return min([*rates, highest / room.span]) / room.below, max([*rates, highest]) * room.above


def _draw_roofs(axes: Axes, peaks: MachinePeaks, low: float, high: float) -> None:
    intensity = np.geomspace(low, high, 400)
    for peak in peaks.best_arithmetic():
        roof = np.minimum(peak.operations_per_second, intensity * peaks.memory.bytes_per_second) / 1e9
        axes.plot(intensity, roof, color=INK, linewidth=1.4, linestyle=_ROOF_STYLES.get(peak.type, "-."), zorder=2)
        axes.annotate(_roof_text(peak), (high, roof[-1]), (-4, 4), textcoords="offset points", ha="right", color=INK)
    fastest = max(peaks.arithmetic, key=lambda peak: peak.operations_per_second).operations_per_second
    from_cache = np.minimum(fastest, intensity * peaks.cache.bytes_per_second) / 1e9
    axes.plot(intensity, from_cache, color=PALE, linewidth=1.0, zorder=1, label=_traffic_text("cache", peaks))
    axes.plot([], [], color=INK, linewidth=1.4, label=_traffic_text("memory", peaks))


def _roof_text(peak: ArithmeticPeak) -> str:
    return f"{peak.type}, {peak.instruction}: {peak.operations_per_second / 1e9:.0f} GFLOP/s"


def _traffic_text(place: str, peaks: MachinePeaks) -> str:
    rate = peaks.memory if place == "memory" else peaks.cache
    return f"from {place}: {rate.bytes_per_second / 1e9:.0f} GB/s"
