"""Which kernel gets the next trials: the one that is expected to take most off the whole model's time.

After the gradient of Zheng et al., "Ansor: Generating High-Performance Tensor Programs for Deep Learning", 2020,
section 6: with ``w`` calls of a kernel, its best time ``g`` after ``t`` trials and the time ``h`` it had ``WINDOW``
trials before, the expected gain of one more trial is

    w * max((h - g) / WINDOW, g / t * OPTIMISM)

so that a kernel which still improves, or has had few trials for its share of the time, comes first.

Kernels that compute one layer by different algorithms compete: one that is far behind another after ``FEW_TRIALS`` gets
no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lepton_compiler.tuning.task_search import TaskSearch

WINDOW = 8
OPTIMISM = 0.1
"""What the next trials are taken to save if they save anything, as a share of a kernel's time."""
FEW_TRIALS = 6
"""Trials that every algorithm of a layer gets: its default, and some that show what knobs can gain."""
OUT_OF_REACH = 1.15
"""A kernel that takes so many times as long as another algorithm's is not expected to overtake it: knobs gain less."""


_UNTRIED, _UNTRIED_ALTERNATIVE = float("inf"), 1e9
"""Kernels of the model get their first trial before others that could take their place, and all before second ones."""


def next_task(
    searches: Sequence[TaskSearch], patience: int | None, known: Mapping[str, float] | None = None
) -> TaskSearch | None:
    """The task that is most worth a trial; None where all are done.

    Args:
        searches: All tasks.
        patience: Trials without a significant gain after which a task is done; None for never.
        known: Best seconds of kernels that are not searched, by key.
    """
    best = best_seconds(searches, known or {})
    going = [search for search in searches if not is_done(search, patience) and not is_beaten(search, best)]
    return max(going, key=expected_gain, default=None)


def is_done(search: TaskSearch, patience: int | None) -> bool:
    """Whether nothing is left to try, or the task has been on a plateau for long enough."""
    return search.is_exhausted or (patience is not None and search.since_gain >= patience)


def best_seconds(searches: Sequence[TaskSearch], known: Mapping[str, float]) -> dict[str, float]:
    """The best time of every kernel that has one and may be used, by key."""
    found = {
        search.task.workload: search.best_seconds
        for search in searches
        if search.best_seconds is not None and search.problem is None
    }
    return {**known, **found}


def is_beaten(search: TaskSearch, best: Mapping[str, float]) -> bool:
    """Whether another algorithm of its layer is so much faster that more trials would be wasted on this one."""
    others = [best[key] for key in search.task.layer if key != search.task.workload and key in best]
    if not others or search.tried < FEW_TRIALS or search.best_seconds is None:
        return False
    return search.best_seconds > OUT_OF_REACH * min(others)


def expected_gain(search: TaskSearch) -> float:
    """Seconds of a run of the model that one more trial is expected to save."""
    trials = len(search.curve)
    if search.best_seconds is None:
        return search.task.calls * 1e-9 if trials else _UNTRIED if search.task.is_called else _UNTRIED_ALTERNATIVE
    before = search.curve[-WINDOW - 1] if trials > WINDOW else search.default_seconds
    slope = max(0.0, (before or search.best_seconds) - search.best_seconds) / WINDOW
    return search.task.calls * max(slope, OPTIMISM * search.best_seconds / trials)
