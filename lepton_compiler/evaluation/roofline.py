"""Roofline picture: each kernel's arithmetic rate over its operations a byte, under what the machine reaches.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures",
CACM 52 (4), 2009.
"""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_compiler.evaluation.kernel_profile import KernelProfile, ModelProfile
from lepton_compiler.evaluation.label_places import Box, Disc, place_labels
from lepton_compiler.evaluation.machine_probe import ArithmeticPeak, MachinePeaks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import BboxBase

_LARGEST_AREA, _SMALLEST_AREA = 900.0, 12.0
"""Of a kernel's disc, in square points: the area is its share of the time."""
_LEGEND_AREA = 36.0
_NAMED_KERNELS = 5
_NAME_LENGTH = 48
_NUMBER_SIZE = 8
_DIGIT_WIDTH, _DIGIT_HEIGHT = 5.6, 9.0
"""Of a kernel's number, in points, with some room around it."""
_MARKERS = {"float32": "o", "bfloat16": "s", "int8": "^", "uint8": "v"}
_OTHER_MARKER = "D"
_ROOF_STYLES = {"float32": "-", "bfloat16": "--", "int8": ":"}
_INK, _PALE = "#30343b", "#9aa0a6"


def roofline_png(profile: ModelProfile, peaks: MachinePeaks) -> bytes:
    """The picture as a PNG file of 1600 by 1000 pixels."""
    return _rendered(draw_roofline(profile, peaks), "png", {"Software": None})


def roofline_svg(profile: ModelProfile, peaks: MachinePeaks) -> str:
    """The picture as an ``svg`` element."""
    text = _rendered(draw_roofline(profile, peaks), "svg", {"Date": None, "Creator": None}).decode()
    return text[text.index("<svg") :]


def _rendered(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    import matplotlib as mpl

    file = io.BytesIO()
    # Identifiers in SVG files are random without a salt.
    with mpl.rc_context({"svg.hashsalt": "lepton"}):
        figure.savefig(file, format=kind, metadata=metadata)
    return file.getvalue()


def draw_roofline(profile: ModelProfile, peaks: MachinePeaks) -> Figure:
    """Draws roofs and kernels; kernels without arithmetic, or whose work nobody could count, have no place in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.25), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    placed = [kernel for kernel in profile.ranked() if kernel.intensity is not None]
    low, high = _intensities(placed, peaks)
    _draw_roofs(axes, peaks, low, high)
    _draw_kernels(axes, placed)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=_rates(placed, peaks))
    axes.set_xlabel("operations for each byte that the kernel reads or writes")
    axes.set_ylabel("GFLOP/s (integer operations included)")
    plural = "s" if profile.threads > 1 else ""
    manifest = profile.manifest
    parts = manifest.model.name, manifest.target.name, manifest.precision, f"{profile.threads} thread{plural}"
    axes.set_title(", ".join(parts), loc="left", color=_INK, parse_math=False)
    axes.grid(which="major", color="#e4e6e9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _draw_legend(figure)
    _draw_numbers(figure, axes, placed)
    return figure


def _intensities(placed: list[KernelProfile], peaks: MachinePeaks) -> tuple[float, float]:
    """Ends of the horizontal axis: room for every kernel and for every roof's ridge."""
    ridges = [peak.operations_per_second / peaks.memory.bytes_per_second for peak in peaks.best_arithmetic()]
    found = [kernel.intensity for kernel in placed if kernel.intensity] + ridges
    return min(found) / 3, max(found) * 12


def _rates(placed: list[KernelProfile], peaks: MachinePeaks) -> tuple[float, float]:
    rates = [kernel.flops_per_second / 1e9 for kernel in placed if kernel.flops_per_second]
    highest = max(peak.operations_per_second for peak in peaks.arithmetic) / 1e9
    return min([*rates, highest / 100]) / 2, highest * 2.5


def _draw_roofs(axes: Axes, peaks: MachinePeaks, low: float, high: float) -> None:
    intensity = np.geomspace(low, high, 400)
    for peak in peaks.best_arithmetic():
        roof = np.minimum(peak.operations_per_second, intensity * peaks.memory.bytes_per_second) / 1e9
        axes.plot(intensity, roof, color=_INK, linewidth=1.4, linestyle=_ROOF_STYLES.get(peak.type, "-."), zorder=2)
        axes.annotate(_roof_text(peak), (high, roof[-1]), (-4, 4), textcoords="offset points", ha="right", color=_INK)
    fastest = max(peaks.arithmetic, key=lambda peak: peak.operations_per_second).operations_per_second
    from_cache = np.minimum(fastest, intensity * peaks.cache.bytes_per_second) / 1e9
    axes.plot(intensity, from_cache, color=_PALE, linewidth=1.0, zorder=1, label=_traffic_text("cache", peaks))
    axes.plot([], [], color=_INK, linewidth=1.4, label=_traffic_text("memory", peaks))


def _roof_text(peak: ArithmeticPeak) -> str:
    return f"{peak.type}, {peak.instruction}: {peak.operations_per_second / 1e9:.0f} GFLOP/s"


def _traffic_text(place: str, peaks: MachinePeaks) -> str:
    rate = peaks.memory if place == "memory" else peaks.cache
    return f"from {place}: {rate.bytes_per_second / 1e9:.0f} GB/s"


def _draw_kernels(axes: Axes, placed: list[KernelProfile]) -> None:
    """One colour an anchor, one shape an element type."""
    anchors = list(dict.fromkeys(kernel.entry.anchor for kernel in placed))
    for number, anchor in enumerate(anchors):
        share = sum(kernel.share for kernel in placed if kernel.entry.anchor == anchor)
        _legend_mark(axes, "o", f"C{number % 10}", f"{anchor}, {100 * share:.0f} % of the time")
    types = list(dict.fromkeys(kernel.entry.operand_type for kernel in placed))
    for operand_type in types:
        _legend_mark(axes, _marker(operand_type), _PALE, f"{operand_type} operands")
    for anchor, operand_type in itertools.product(anchors, types):
        kernels = [k for k in placed if (k.entry.anchor, k.entry.operand_type) == (anchor, operand_type)]
        if kernels:
            axes.scatter(
                *np.array([_place(kernel) for kernel in kernels]).T,
                s=[_area(kernel) for kernel in kernels],
                color=f"C{anchors.index(anchor) % 10}",
                marker=_marker(operand_type),
                alpha=0.6,
                linewidths=0,
                zorder=3,
            )
    for kernel in placed[:_NAMED_KERNELS]:
        name = f"{kernel.number}: {_shortened(kernel.entry.nodes)}, {100 * kernel.share:.1f} %"
        axes.scatter([], [], s=0, label=name)


def _legend_mark(axes: Axes, marker: str, color: str, label: str) -> None:
    axes.scatter([], [], s=_LEGEND_AREA, marker=marker, color=color, alpha=0.8, linewidths=0, label=label)


def _marker(operand_type: str) -> str:
    return _MARKERS.get(operand_type, _OTHER_MARKER)


def _draw_numbers(figure: Figure, axes: Axes, placed: list[KernelProfile]) -> None:
    """The kernels that take longest carry their number in the table, each readable beside the others."""
    from matplotlib.patheffects import withStroke

    # Places are those of the picture as it will be laid out.
    figure.draw_without_rendering()
    points_per_pixel = 72.0 / figure.dpi

    def box_of(extent: BboxBase) -> Box:
        center, size = (extent.min + extent.max) / 2 * points_per_pixel, extent.size * points_per_pixel
        return Box(float(center[0]), float(center[1]), float(size[0]), float(size[1]))

    places = axes.transData.transform([_place(kernel) for kernel in placed]) if placed else []
    discs = [
        Disc(float(x) * points_per_pixel, float(y) * points_per_pixel, _radius(kernel))
        for (x, y), kernel in zip(places, placed, strict=True)
    ]
    named = placed[:_NAMED_KERNELS]
    sizes = [(_DIGIT_WIDTH * len(str(kernel.number)) + _DIGIT_WIDTH, _DIGIT_HEIGHT) for kernel in named]
    roofs = [box_of(text.get_window_extent()) for text in axes.texts]
    boxes = place_labels(discs[: len(named)], sizes, discs[len(named) :], box_of(axes.get_window_extent()), roofs)
    for kernel, disc, box in zip(named, discs[: len(named)], boxes, strict=True):
        axes.annotate(
            str(kernel.number),
            _place(kernel),
            (box.x - disc.x, box.y - disc.y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_NUMBER_SIZE,
            color=_INK,
            zorder=5,
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": _INK, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )


def _draw_legend(figure: Figure) -> None:
    """Below the axes, where it covers no kernel."""
    legend = figure.legend(loc="outside lower left", ncols=2, fontsize=7.5, frameon=False)
    for text in legend.get_texts():
        # A node may be called "$x_{1}$".
        text.set_parse_math(False)


def _place(kernel: KernelProfile) -> tuple[float, float]:
    """Operations a byte, and GFLOP/s."""
    return kernel.intensity or 0.0, (kernel.flops_per_second or 0.0) / 1e9


def _radius(kernel: KernelProfile) -> float:
    return (_area(kernel) / np.pi) ** 0.5


def _area(kernel: KernelProfile) -> float:
    return max(_SMALLEST_AREA, _LARGEST_AREA * kernel.share)


def _shortened(nodes: str) -> str:
    return nodes if len(nodes) <= _NAME_LENGTH else f"{nodes[: _NAME_LENGTH - 3]}..."
