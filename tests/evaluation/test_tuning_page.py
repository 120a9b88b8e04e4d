"""The page of a tuning session and its pictures."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from html_reader import HtmlReader
from profile_samples import PEAKS
from tuning_samples import REPORT, TASKS

from lepton_compiler.cli.tune import REPORT_COLUMNS
from lepton_compiler.cli.tune_tables import report_rows, report_sentences
from lepton_compiler.evaluation.tuning_page import tuning_page
from lepton_compiler.evaluation.tuning_pictures import draw_curves, draw_roofline_of_tuning

pytest.importorskip("matplotlib", reason="matplotlib comes with the extra plot, which is not installed")

NUMBERED = dict(enumerate(TASKS, 1))
GAINED = {number: task for number, task in NUMBERED.items() if task.gain > 1}


def _page(report=REPORT, peaks=PEAKS) -> str:
    sentences = report_sentences(report, report.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return tuning_page("net<1>.onnx", report, sentences, (REPORT_COLUMNS, report_rows(report)), peaks)


def test_the_page_has_every_kernel_and_loads_nothing() -> None:
    page = _page()
    reader = HtmlReader(page)
    rows = [reader.cells[at : at + len(REPORT_COLUMNS) + 1] for at in range(0, len(reader.cells), 9)]
    assert [row[:2] for row in rows] == [[str(number), task.kernel[0]] for number, task in NUMBERED.items()]
    assert rows[0][6] == "2.00"
    assert rows[4][6] == "its reference can't be built: no memory"
    assert reader.loads_nothing()
    assert "<title>Tuning of net&lt;1&gt;.onnx</title>" in page
    assert set(report_sentences(REPORT, REPORT.folder)) <= set(reader.paragraphs)
    assert _page() == page


def test_pictures_stand_where_there_is_something_to_draw() -> None:
    nothing = replace(REPORT, tasks=TASKS[1:2])
    assert (_page().count("<svg"), _page(peaks=None).count("<svg")) == (2, 1)
    assert (_page(nothing).count("<svg"), _page(nothing, None).count("<svg")) == (1, 0)


def test_a_session_without_any_trial_has_a_page() -> None:
    """The user interrupted it before the first one."""
    untried = replace(TASKS[0], default_seconds=None, best_seconds=None, gain=1.0, knobs=None, curve_seconds=())
    assert "<svg" in _page(replace(REPORT, tasks=(untried,), interrupted=True))


def test_curves_are_the_best_time_as_a_share_of_the_default() -> None:
    axes = draw_curves(GAINED).axes
    drawn = [axis for axis in axes if axis.axison]
    assert [axis.get_title(loc="left") for axis in drawn] == ["1: conv", "3: dense<b>$x_1$", "4: uncounted"]
    default, curve, _ = drawn[0].lines
    assert set(default.get_ydata()) == {100}
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([2, 3, 4], pytest.approx([100.0, 80.0, 50.0]))
    assert len({axis.get_ylim() for axis in drawn}) == 1


@pytest.mark.parametrize("count", [1, 2, 4, 5, 30])
def test_a_small_picture_for_each_kernel(count: int) -> None:
    tasks = dict.fromkeys(range(1, count + 1), TASKS[0])
    assert sum(axis.axison for axis in draw_curves(tasks).axes) == count


def test_kernels_stand_before_and_after_at_their_intensity() -> None:
    """One that did not gain has one mark; one whose work is unknown, or that did not run, has none."""
    axes = draw_roofline_of_tuning(NUMBERED, PEAKS, "net").axes[0]
    points = [tuple(place) for marks in axes.collections for place in marks.get_offsets().tolist()]
    expected = [(40.0, 80.0), (40.0, 40.0), (40.0, 200.0), (0.25, 31.25), (0.25, 25.0)]
    np.testing.assert_allclose(sorted(points), sorted(expected))
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    assert all(left < x < right and bottom < y < top for x, y in points)


def test_the_kernels_that_save_most_carry_their_numbers() -> None:
    figure = draw_roofline_of_tuning(NUMBERED, PEAKS, "net")
    numbers = [text.get_text() for text in figure.axes[0].texts if text.get_text().isdigit()]
    assert numbers == ["1", "3"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "1: conv, 2.00 times as fast" in legend
    assert not any(re.match(r"2:", text) for text in legend)
