"""Roofline of a profile: each kernel's arithmetic rate over its operations a byte, under the machine's roofs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from lepton_compiler.evaluation.figure_files import PALE, png_file, svg_element
from lepton_compiler.evaluation.kernel_profile import KernelProfile, ModelProfile
from lepton_compiler.evaluation.machine_probe import MachinePeaks
from lepton_compiler.evaluation.roof_axes import RoofMark, draw_legend, draw_numbers, roofline_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST_AREA, _SMALLEST_AREA = 900.0, 12.0
"""Of a kernel's disc, in square points: the area is its share of the time."""
_LEGEND_AREA = 36.0
_NAMED_KERNELS = 5
_NAME_LENGTH = 48
_MARKERS = {"float32": "o", "bfloat16": "s", "int8": "^", "uint8": "v"}
_OTHER_MARKER = "D"


def roofline_png(profile: ModelProfile, peaks: MachinePeaks) -> bytes:
    """The picture as a PNG file of 1600 by 1000 pixels."""
    return png_file(draw_roofline(profile, peaks))


def roofline_svg(profile: ModelProfile, peaks: MachinePeaks) -> str:
    """The picture as an ``svg`` element."""
    return svg_element(draw_roofline(profile, peaks))


def draw_roofline(profile: ModelProfile, peaks: MachinePeaks) -> Figure:
    """Draws roofs and kernels; kernels without arithmetic, or whose work nobody could count, have no place in it."""
    placed = [kernel for kernel in profile.ranked() if kernel.intensity is not None]
    marks = [_mark(kernel) for kernel in placed]
    plural = "s" if profile.threads > 1 else ""
    manifest = profile.manifest
    parts = manifest.model.name, manifest.target.name, manifest.precision, f"{profile.threads} thread{plural}"
    figure, axes = roofline_figure(peaks, marks, ", ".join(parts))
    _draw_kernels(axes, placed)
    draw_legend(figure)
    draw_numbers(figure, axes, marks[:_NAMED_KERNELS], marks[_NAMED_KERNELS:])
    return figure


def _draw_kernels(axes: Axes, placed: list[KernelProfile]) -> None:
    """One colour an anchor, one shape an element type."""
    anchors = list(dict.fromkeys(kernel.entry.anchor for kernel in placed))
    for number, anchor in enumerate(anchors):
        share = sum(kernel.share for kernel in placed if kernel.entry.anchor == anchor)
        _legend_mark(axes, "o", f"C{number % 10}", f"{anchor}, {100 * share:.0f} % of the time")
    types = list(dict.fromkeys(kernel.entry.operand_type for kernel in placed))
    for operand_type in types:
        _legend_mark(axes, _marker(operand_type), PALE, f"{operand_type} operands")
    for anchor, operand_type in itertools.product(anchors, types):
        kernels = [k for k in placed if (k.entry.anchor, k.entry.operand_type) == (anchor, operand_type)]
        if kernels:
            axes.scatter(
                *np.array([_mark(kernel).place for kernel in kernels]).T,
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


def _mark(kernel: KernelProfile) -> RoofMark:
    return RoofMark(kernel.number, kernel.intensity or 0.0, (kernel.flops_per_second or 0.0) / 1e9, _area(kernel))


def _area(kernel: KernelProfile) -> float:
    return max(_SMALLEST_AREA, _LARGEST_AREA * kernel.share)


def _shortened(nodes: str) -> str:
    return nodes if len(nodes) <= _NAME_LENGTH else f"{nodes[: _NAME_LENGTH - 3]}..."
