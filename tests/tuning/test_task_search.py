"""Which candidate comes next, and which kernel: on a landscape whose optimum is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from landscape import ANCHOR, BEST, CANDIDATES, DEFAULT, SIZE, knob_values, outcome, seconds, task

from lepton_compiler.tuning.cost_model import CostModel, KernelSize, Sample
from lepton_compiler.tuning.record import Outcome, Status
from lepton_compiler.tuning.task_scheduler import (
    FEW_TRIALS,
    best_seconds,
    expected_gain,
    is_beaten,
    is_done,
    next_task,
)
from lepton_compiler.tuning.task_search import TaskSearch

UNKNOWN_SIZE = KernelSize(0, 0, ())
"""Of kernels whose operations can't be counted: their trials teach no model."""
WRONG = Outcome.failed(Status.WRONG_RESULT, "12 of 64 elements differ")
CRASH = Outcome.failed(Status.CRASH, "signal 11")


def new_search(name: str = "kernel", calls: int = 1, seed: int = 0) -> TaskSearch:
    return TaskSearch(task(name, calls), SIZE, seed)


def go_on(search: TaskSearch, model: CostModel, trials: int, size: KernelSize = SIZE) -> list[Any]:
    """Tries candidates as the tuner does, and teaches the model, which learns nothing where a size is unknown."""
    tried = []
    for _ in range(trials):
        if search.is_exhausted:
            break
        knobs = search.next(model)
        search.add(knobs, outcome(knobs))
        model.add(ANCHOR, [Sample(size, search.values(knobs), seconds(vars(knobs)))])
        tried.append(knobs)
    return tried


def trials_to(factor: float, model: CostModel, seed: int) -> int:
    """Trials until a candidate is as fast as the best, but for ``factor``."""
    search = new_search(seed=seed)
    while search.best_seconds is None or search.best_seconds > factor * seconds(vars(BEST)):
        go_on(search, model, 1)
    return search.tried


def test_the_default_comes_first() -> None:
    search = new_search()
    assert search.next(CostModel()) == DEFAULT


@pytest.mark.parametrize("size", [UNKNOWN_SIZE, SIZE], ids=["chance", "model"])
def test_every_candidate_is_given_out_once(size: KernelSize) -> None:
    few = tuple(dict.fromkeys([DEFAULT, *CANDIDATES[::9], BEST]))
    search = TaskSearch(task(candidates=few), SIZE, 0)
    tried = go_on(search, CostModel(), 10_000, size)
    assert len(tried) == len(few)
    assert set(tried) == set(few)
    assert search.is_exhausted
    assert search.best == BEST
    assert search.gain == pytest.approx(seconds(vars(DEFAULT)) / seconds(vars(BEST)))


def test_the_same_seed_searches_in_the_same_order() -> None:
    one, again, other = (go_on(new_search(seed=seed), CostModel(), 20) for seed in (3, 3, 4))
    assert one == again != other


def test_the_model_finds_the_best_sooner_than_chance() -> None:
    """Chance needs (n + 1) / (k + 1) trials on average until it meets one of k good candidates among n."""
    good = sum(seconds(vars(knobs)) <= 1.02 * seconds(vars(BEST)) for knobs in CANDIDATES)
    chance = (len(CANDIDATES) + 1) / (good + 1)
    needed = [trials_to(1.02, CostModel(), seed) for seed in range(7)]
    assert sum(needed) / 7 < 0.7 * chance, (needed, chance)


def test_records_of_another_model_save_trials() -> None:
    """The same schedule on a kernel of another size, whose optimum is another one."""

    def taught() -> CostModel:
        model = CostModel()
        size = KernelSize(9_000_000, 200_000, (1, 52, 96))
        model.add(ANCHOR, [Sample(size, knobs, seconds(knobs, size)) for knobs in knob_values()])
        return model

    seeds = range(5)
    alone = sum(trials_to(1.02, CostModel(), seed) for seed in seeds)
    transferred = sum(trials_to(1.02, taught(), seed) for seed in seeds)
    assert transferred < 0.6 * alone, (transferred, alone)


def test_what_is_known_is_not_tried_again() -> None:
    search = new_search()
    known = [DEFAULT, *CANDIDATES[5:30]]
    for knobs in known:
        search.know(vars(knobs), outcome(knobs))
    assert search.tried == len(known)
    assert search.default_seconds == seconds(vars(DEFAULT))
    assert not set(go_on(search, CostModel(), 10_000, UNKNOWN_SIZE)) & set(known)
    assert search.is_exhausted


def test_records_of_knobs_that_no_candidate_has_are_left_alone() -> None:
    search = new_search()
    for knobs in ({}, {"rows": 999, "vectors": 1, "chunks": 1}, {"another": 1}, {**vars(DEFAULT), "more": 1}):
        search.know(knobs, Outcome.ok(1e-9, 0, 1))
    assert (search.tried, search.best, search.curve) == (0, None, [])


def test_of_several_records_the_fastest_counts() -> None:
    search = new_search()
    for median in (3e-4, 1e-4, 2e-4):
        search.know(vars(DEFAULT), Outcome.ok(median, 0, 1))
    assert (search.tried, search.default_seconds, search.best_seconds) == (1, 1e-4, 1e-4)


def test_failed_trials_are_never_the_best() -> None:
    search = new_search()
    for knobs, failure in zip(CANDIDATES[1:4], (WRONG, CRASH, WRONG), strict=True):
        search.add(knobs, failure)
    assert (search.best, search.best_seconds, search.curve) == (None, None, [None] * 3)
    search.add(DEFAULT, outcome(DEFAULT))
    assert search.best == DEFAULT
    assert search.gain == 1.0


def test_a_candidate_that_was_right_once_and_wrong_once_is_wrong() -> None:
    search = new_search()
    search.add(DEFAULT, Outcome.ok(1e-3, 0, 1))
    search.add(CANDIDATES[1], Outcome.ok(1e-4, 0, 1))
    search.add(CANDIDATES[2], Outcome.ok(5e-4, 0, 1))
    assert search.best == CANDIDATES[1]
    search.add(CANDIDATES[1], WRONG)
    assert (search.best, search.best_seconds) == (CANDIDATES[2], 5e-4)
    search.add(CANDIDATES[1], Outcome.ok(1e-4, 0, 1))
    assert search.best == CANDIDATES[2]
    assert search.finalists(3) == [DEFAULT, CANDIDATES[2]]


def test_a_default_that_failed_once_keeps_its_time() -> None:
    search = new_search()
    search.add(DEFAULT, Outcome.ok(1e-3, 0, 1))
    search.add(DEFAULT, CRASH)
    assert search.default_seconds == 1e-3


def test_finalists_are_the_default_and_what_beats_it_by_more_than_noise() -> None:
    search = new_search()
    assert search.finalists(3) == [DEFAULT]
    for knobs, median in zip(CANDIDATES[:6], (1.0, 0.995, 0.5, 0.7, 0.6, 0.8), strict=True):
        search.add(knobs, Outcome.ok(median, 0, 1))
    assert search.finalists(3) == [DEFAULT, CANDIDATES[2], CANDIDATES[4], CANDIDATES[3]]


# Which kernel is next.


def measured(name: str, calls: int, medians: list[float]) -> TaskSearch:
    search = new_search(name, calls)
    for knobs, median in zip(CANDIDATES, medians, strict=False):
        search._open.pop(knobs)
        search.add(knobs, Outcome.ok(median, 0, 1))
    return search


def test_kernels_that_nobody_has_tried_come_first() -> None:
    tried = measured("tried", 100, [1.0])
    untried = new_search("untried")
    assert next_task([tried, untried], None) is untried


def test_a_kernel_with_more_calls_or_a_longer_time_comes_first() -> None:
    short = measured("short", 1, [1e-4] * 3)
    assert next_task([short, measured("often", 7, [1e-4] * 3)], None) is not short
    assert next_task([short, measured("long", 1, [7e-4] * 3)], None) is not short


def test_a_kernel_that_still_improves_comes_before_one_on_a_plateau() -> None:
    plateau = measured("plateau", 1, [1e-3] * 20)
    improving = measured("improving", 1, [1e-3 * 0.95**trial for trial in range(20)])
    assert next_task([plateau, improving], None) is improving
    assert expected_gain(improving) > expected_gain(plateau) > 0


def test_a_plateau_ends_a_kernel_after_so_many_trials() -> None:
    search = measured("kernel", 1, [1e-3] * 9)
    assert is_done(search, 8)
    assert not is_done(search, 9)
    assert not is_done(search, None)
    search.add(CANDIDATES[20], Outcome.ok(0.995e-3, 0, 1))
    assert is_done(search, 9), "half a percent is no gain"
    search.add(CANDIDATES[21], Outcome.ok(0.9e-3, 0, 1))
    assert not is_done(search, 9)


def test_kernels_with_a_problem_or_nothing_left_are_done() -> None:
    broken, finished = new_search("broken"), new_search("finished")
    broken.problem = "its reference can't be built"
    go_on(finished, CostModel(), 10_000, UNKNOWN_SIZE)
    assert is_done(finished, None)
    assert next_task([broken, finished], None) is None
    assert next_task([], None) is None


def test_a_kernel_whose_candidates_all_fail_does_not_take_all_trials() -> None:
    failing = new_search("failing", calls=10)
    failing.add(failing.next(CostModel()), CRASH)
    assert next_task([failing, measured("working", 1, [1e-4] * 30)], None) is not failing


def rivals(*seconds_of: tuple[str, list[float]]) -> list[TaskSearch]:
    """Searches of kernels that compute one layer, each with the times of its candidates."""
    layer = tuple(f"w1-{name}" for name, _ in seconds_of)
    searches = []
    for name, times in seconds_of:
        search = TaskSearch(replace(task(name), layer=layer), SIZE, 0)
        for knobs, time in zip(CANDIDATES, times, strict=False):
            del search._open[knobs]
            search.add(knobs, Outcome.ok(time, 1e-9, 15))
        searches.append(search)
    return searches


def test_an_algorithm_that_can_not_win_gets_few_trials() -> None:
    slow, fast = rivals(("slow", [2e-4] * FEW_TRIALS), ("fast", [1e-4] * 40))
    assert is_beaten(slow, best_seconds([slow, fast], {}))
    assert not is_beaten(fast, best_seconds([slow, fast], {}))
    assert next_task([slow, fast], None) is fast


def test_every_algorithm_gets_its_default_and_a_handful() -> None:
    slow, fast = rivals(("slow", [2e-4] * (FEW_TRIALS - 1)), ("fast", [1e-4] * 40))
    assert not is_beaten(slow, best_seconds([slow, fast], {}))
    assert next_task([slow, fast], None) is slow


def test_an_algorithm_that_is_near_goes_on() -> None:
    near, fast = rivals(("near", [1.1e-4] * 8), ("fast", [1e-4] * 8))
    assert not is_beaten(near, best_seconds([near, fast], {}))


def test_known_times_of_other_algorithms_count() -> None:
    (slow, _) = rivals(("slow", [2e-4] * FEW_TRIALS), ("known", []))
    assert next_task([slow], None) is slow
    assert next_task([slow], None, {"w1-known": 1e-4}) is None
    assert next_task([slow], None, {"w1-another": 1e-4}) is slow


def test_an_algorithm_that_may_not_be_taken_beats_none() -> None:
    slow, fast = rivals(("slow", [2e-4] * FEW_TRIALS), ("fast", [1e-4] * 8))
    fast.problem = "not exact enough"
    assert next_task([slow, fast], None) is slow


def test_kernels_of_the_model_are_tried_before_those_that_could_take_their_place() -> None:
    tried = measured("tried", 100, [1.0])
    other = TaskSearch(replace(task("other"), stands_for=("kernel",)), SIZE, 0)
    own = new_search("own")
    assert next_task([tried, other, own], None) is own
    assert next_task([tried, other], None) is other
