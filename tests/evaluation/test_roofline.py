"""The roofline picture of a profile."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from profile_samples import PEAKS, PROFILE

from lepton_compiler.evaluation.roofline import draw_roofline, roofline_png, roofline_svg

pytest.importorskip("matplotlib", reason="matplotlib comes with the extra plot, which is not installed")


def _collections() -> list:
    axes = draw_roofline(PROFILE, PEAKS).axes[0]
    return [points for points in axes.collections if len(points.get_offsets())]


def test_kernels_stand_at_their_intensity_and_rate() -> None:
    """Those without arithmetic, or with unknown work, have no place."""
    (convolutions,) = _collections()
    assert convolutions.get_offsets().tolist() == [[50.0, 80e-9], [10.0, 40e-9]]
    longer, shorter = convolutions.get_sizes()
    assert longer / shorter == pytest.approx(5.0 / 3.0)


def test_roofs_are_what_the_machine_reaches() -> None:
    axes = draw_roofline(PROFILE, PEAKS).axes[0]
    roofs = [line for line in axes.lines if len(line.get_xdata())]
    heights = [max(line.get_ydata()) * 1e9 for line in roofs]
    assert heights == pytest.approx([100.0, 400.0, 400.0])
    starts = [line.get_ydata()[0] * 1e9 / line.get_xdata()[0] for line in roofs]
    assert starts == pytest.approx([10.0, 10.0, 40.0])


def test_the_shape_is_the_element_type_and_the_colour_the_anchor() -> None:
    first, second, *_ = PROFILE.kernels
    rounded = replace(second, entry=replace(second.entry, operand_type="bfloat16"))
    figure = draw_roofline(replace(PROFILE, kernels=(first, rounded)), PEAKS)
    points = [points for points in figure.axes[0].collections if len(points.get_offsets())]
    shapes = {str(points.get_paths()[0].vertices.tolist()) for points in points}
    colours = {tuple(points.get_facecolors()[0]) for points in points}
    assert (len(points), len(shapes), len(colours)) == (2, 2, 1)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"float32 operands", "bfloat16 operands"} < set(texts)
    assert texts.count("convolution, 80 % of the time") == 1


def test_numbers_of_kernels_at_one_place_are_readable() -> None:
    from matplotlib.text import Text

    crowd = tuple(replace(PROFILE.kernels[0], number=100 + number) for number in range(8))
    figure = draw_roofline(replace(PROFILE, kernels=crowd), PEAKS)
    figure.draw_without_rendering()
    numbers = [text for text in figure.axes[0].texts if text.get_text().isdigit()]
    # Annotations count their line in.
    boxes = [Text.get_window_extent(text) for text in numbers]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_everything_lies_inside_of_the_axes() -> None:
    axes = draw_roofline(PROFILE, PEAKS).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for x, y in _collections()[0].get_offsets().tolist():
        assert left < x < right
        assert bottom < y < top
    assert top > 400e-9


def test_a_model_without_arithmetic_gives_roofs_alone() -> None:
    silent = replace(PROFILE, kernels=PROFILE.kernels[2:])
    assert draw_roofline(silent, PEAKS).axes[0].lines
    assert roofline_png(silent, PEAKS)


def test_png_and_svg_are_whole_and_the_same_every_time() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png, svg = roofline_png(PROFILE, PEAKS), roofline_svg(PROFILE, PEAKS)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (1600, 1000)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert (roofline_png(PROFILE, PEAKS), roofline_svg(PROFILE, PEAKS)) == (png, svg)
