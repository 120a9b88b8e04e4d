"""Pictures of a tuning session: the best time after each trial, and the roofline before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lepton_compiler.evaluation.figure_files import GRID, INK, PALE
from lepton_compiler.evaluation.machine_probe import MachinePeaks
from lepton_compiler.evaluation.roof_axes import RoofMark, draw_legend, draw_numbers, roofline_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lepton_compiler.tuning.tuning_report import TaskReport

NumberedTasks = Mapping[int, "TaskReport"]
"""Kernels by their numbers in the page's table."""

_COLUMNS = 4
_WIDTH, _ROW_HEIGHT, _MARGIN = 10.0, 1.45, 0.55
"""Of the picture of curves, in inches."""
_NAME_LENGTH = 36
_LEAST_RANGE, _MOST_RANGE = 95.0, 110.0
"""Percent that the axis of curves reaches down to in any case, so that noise looks like no gain, and up to at most."""
_AREA = 42.0
"""Of a kernel's mark, in square points."""
_NAMED_KERNELS = 8


def draw_curves(tasks: NumberedTasks) -> Figure:
    """The best time so far over the trials, a small picture for each kernel, all with the same vertical axis.

    Args:
        tasks: Kernels whose default and best ran, one at least.
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure = Figure(figsize=(_WIDTH * columns / _COLUMNS, _ROW_HEIGHT * rows + _MARGIN), dpi=160, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten().tolist()
    for axes, (number, task) in zip(grid, tasks.items(), strict=False):
        _draw_curve(axes, number, task)
    for axes in grid[len(tasks) :]:
        axes.set_axis_off()
    percents = [percent for task in tasks.values() for _, percent in _percents(task)]
    low, high = min([_LEAST_RANGE, *percents]), min(max([100.0, *percents]), _MOST_RANGE)
    grid[0].set_ylim(low - (high - low) * 0.25, high + (high - low) * 0.05)
    figure.supylabel("best time, % of the default's", fontsize=8, color=INK)
    figure.supxlabel("trials of the kernel", fontsize=8, color=INK)
    return figure


def _percents(task: TaskReport) -> list[tuple[int, float]]:
    """Trials and best times so far, in percent of the default's."""
    assert task.default_seconds is not None, "a kernel that gained has a default that ran"
    return [(trial, 100 * s / task.default_seconds) for trial, s in enumerate(task.curve_seconds, 1) if s is not None]


def _draw_curve(axes: Axes, number: int, task: TaskReport) -> None:
    trials, percents = zip(*_percents(task), strict=True)
    axes.axhline(100, color=PALE, linewidth=0.8, linestyle="--")
    axes.step(trials, percents, where="post", color="C0", linewidth=1.4)
    axes.plot(trials[-1], percents[-1], "o", color="C0", markersize=3.5, clip_on=False)
    end = trials[-1], percents[-1]
    text = f"{percents[-1]:.0f} %"
    axes.annotate(text, end, (0, -4), textcoords="offset points", ha="right", va="top", fontsize=7, color=INK)
    axes.set_title(f"{number}: {_shortened(task.kernel[0])}", loc="left", fontsize=7, color=INK, parse_math=False)
    axes.set_xlim(1, max(len(task.curve_seconds), 2))
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    axes.tick_params(labelsize=6.5, colors=INK, length=2)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_roofline_of_tuning(tasks: NumberedTasks, peaks: MachinePeaks, title: str) -> Figure:
    """Each kernel before (hollow) and after (full) under the machine's roofs, an arrow between where it gained.

    Kernels whose work can't be counted, or that did not run, have no place in it.
    """
    placed = {number: task for number, task in tasks.items() if _has_place(task)}
    before = {number: _mark(number, task, task.default_seconds) for number, task in placed.items()}
    after = {number: _mark(number, task, _after(task)) for number, task in placed.items()}
    roofs = peaks.of_types({task.operand_type for task in placed.values()})
    figure, axes = roofline_figure(roofs, [*before.values(), *after.values()], title, zoom=bool(placed))
    anchors = list(dict.fromkeys(task.anchor for task in placed.values()))
    for number, task in placed.items():
        _draw_change(axes, before[number], after[number], f"C{anchors.index(task.anchor) % 10}", gained=task.gain > 1)
    for place, anchor in enumerate(anchors):
        axes.scatter([], [], s=_AREA, color=f"C{place % 10}", label=anchor)
    axes.scatter([], [], s=_AREA, facecolors="none", edgecolors=PALE, label="default, where tuning gained")
    named = _most_saved(placed)
    for number in named:
        text = f"{number}: {_shortened(placed[number].kernel[0])}, {placed[number].gain:.2f} times as fast"
        axes.scatter([], [], s=0, label=text)
    draw_legend(figure)
    others = [mark for number, mark in after.items() if number not in named]
    draw_numbers(figure, axes, [after[number] for number in named], [*others, *before.values()])
    return figure


def _draw_change(axes: Axes, before: RoofMark, after: RoofMark, color: str, *, gained: bool) -> None:
    axes.scatter(*after.place, s=after.area, color=color, alpha=0.75, linewidths=0, zorder=4)
    if gained:
        axes.scatter(*before.place, s=before.area, facecolors="white", edgecolors=color, linewidths=1.0, zorder=3)
        arrow = {"arrowstyle": "->", "color": color, "linewidth": 1.2, "shrinkA": 3, "shrinkB": 0}
        axes.annotate("", after.place, before.place, arrowprops=arrow, zorder=3.5)


def _has_place(task: TaskReport) -> bool:
    return bool(task.flops and task.moved_bytes and task.default_seconds and task.best_seconds)


def _after(task: TaskReport) -> float | None:
    """Time of what a compilation takes: the default's, unless another candidate gained."""
    return task.best_seconds if task.gain > 1 else task.default_seconds


def _mark(number: int, task: TaskReport, seconds: float | None) -> RoofMark:
    assert task.flops and task.moved_bytes and seconds, "only kernels with a place are drawn"
    return RoofMark(number, task.flops / task.moved_bytes, task.flops / seconds / 1e9, _AREA)


def _most_saved(tasks: NumberedTasks) -> Sequence[int]:
    """Numbers of the kernels that take most off a run of the model."""
    saved = {
        number: task.calls * ((task.default_seconds or 0.0) - (_after(task) or 0.0)) for number, task in tasks.items()
    }
    return sorted((number for number in saved if saved[number] > 0), key=lambda number: -saved[number])[:_NAMED_KERNELS]


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"...{name[3 - _NAME_LENGTH :]}"
