"""Roofline picture: each kernel's arithmetic rate over its operations a byte, under what the machine reaches.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures",
CACM 52 (4), 2009.
"""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_compiler.core.errors import MissingExtraError
from lepton_compiler.evaluation.kernel_profile import KernelProfile, ModelProfile
from lepton_compiler.evaluation.machine_probe import ArithmeticPeak, MachinePeaks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST_AREA, _SMALLEST_AREA = 900.0, 12.0
"""Of a kernel's disc, in square points: the area is its share of the time."""
_LEGEND_AREA = 36.0
_NAMED_KERNELS = 5
_NAME_LENGTH = 48
_ROOF_STYLES = {"float32": "-", "bfloat16": "--", "int8": ":"}
_INK, _PALE = "#30343b", "#9aa0a6"


def require_matplotlib(purpose: str) -> None:
    """Refuses a picture that can't be drawn, before the work that leads to it.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "plot", purpose)


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
    title = f"{profile.manifest.model.name}, {profile.manifest.target.name}, {profile.threads} thread{plural}"
    axes.set_title(title, loc="left", color=_INK, parse_math=False)
    axes.grid(which="major", color="#e4e6e9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
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
    """Discs, one colour an anchor; those that take longest carry their number in the table."""
    anchors = list(dict.fromkeys(kernel.entry.anchor for kernel in placed))
    for number, anchor in enumerate(anchors):
        kernels = [kernel for kernel in placed if kernel.entry.anchor == anchor]
        axes.scatter(
            [kernel.intensity for kernel in kernels],
            [(kernel.flops_per_second or 0.0) / 1e9 for kernel in kernels],
            s=[_area(kernel) for kernel in kernels],
            color=f"C{number % 10}",
            alpha=0.6,
            linewidths=0,
            zorder=3,
            label=f"{anchor}, {100 * sum(kernel.share for kernel in kernels):.0f} % of the time",
        )
    for kernel in placed[:_NAMED_KERNELS]:
        place = (kernel.intensity, (kernel.flops_per_second or 0.0) / 1e9)
        above = (0, 2 + (_area(kernel) / np.pi) ** 0.5)
        axes.annotate(
            str(kernel.number), place, above, textcoords="offset points", ha="center", fontsize=8, color=_INK, zorder=4
        )
        name = f"{kernel.number}: {_shortened(kernel.entry.nodes)}, {100 * kernel.share:.1f} %"
        axes.scatter([], [], s=0, label=name)
    _draw_legend(axes)


def _draw_legend(axes: Axes) -> None:
    from matplotlib.collections import PathCollection

    legend = axes.legend(loc="lower right", fontsize=7.5, frameon=True, framealpha=0.9, edgecolor="#e4e6e9")
    for handle in legend.legend_handles:
        # A disc of the kernel's size would cover its neighbours; names of kernels have none.
        if isinstance(handle, PathCollection) and handle.get_sizes()[0] > 0:
            handle.set_sizes([_LEGEND_AREA])
    for text in legend.get_texts():
        # A node may be called "$x_{1}$".
        text.set_parse_math(False)


def _area(kernel: KernelProfile) -> float:
    return max(_SMALLEST_AREA, _LARGEST_AREA * kernel.share)


def _shortened(nodes: str) -> str:
    return nodes if len(nodes) <= _NAME_LENGTH else f"{nodes[: _NAME_LENGTH - 3]}..."
