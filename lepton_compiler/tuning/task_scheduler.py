"""Which kernel gets the next trials: the one that is expected to take most off the whole model's time.

After the gradient of Zheng et al., "Ansor: Generating High-Performance Tensor Programs for Deep Learning", 2020,
section 6: with ``w`` calls of a kernel, its best time ``g`` after ``t`` trials and the time ``h`` it had ``WINDOW``
trials before, the expected gain of one more trial is

    w * max((h - g) / WINDOW, g / t * OPTIMISM)

so that a kernel which still improves, or has had few trials for its share of the time, comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from lepton_compiler.tuning.task_search import TaskSearch

WINDOW = 8
OPTIMISM = 0.1
"""What the next trials are taken to save if they save anything, as a share of a kernel's time."""


def next_task(searches: Sequence[TaskSearch], patience: int | None) -> TaskSearch | None:
    """The task that is most worth a trial; None where all are done.

    Args:
        searches: All tasks.
        patience: Trials without a significant gain after which a task is done; None for never.
    """
    going = [search for search in searches if not is_done(search, patience)]
    return max(going, key=expected_gain, default=None)


def is_done(search: TaskSearch, patience: int | None) -> bool:
    """Whether nothing is left to try, or the task has been on a plateau for long enough."""
    return search.is_exhausted or (patience is not None and search.since_gain >= patience)


def expected_gain(search: TaskSearch) -> float:
    """Seconds of a run of the model that one more trial is expected to save."""
    trials = len(search.curve)
    if search.best_seconds is None:
        return float("inf") if trials == 0 else search.task.calls * 1e-9
    before = search.curve[-WINDOW - 1] if trials > WINDOW else search.default_seconds
    slope = max(0.0, (before or search.best_seconds) - search.best_seconds) / WINDOW
    return search.task.calls * max(slope, OPTIMISM * search.best_seconds / trials)
