"""What kernels get from the runtime: parallel loops, barriers, workspaces, errors."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest

from lepton_compiler.core.errors import RunError
from lepton_compiler.runtime.model import Model, load


class Behaviour(IntEnum):
    """``enum behaviour`` of ``models/behaviours.c``."""

    ONE_TASK_PER_THREAD = 0
    FIVE_TASKS = 1
    NESTED_LOOPS = 2
    BARRIERS = 3
    FAIL_BEFORE_BARRIER = 4
    WORKSPACES = 5
    HUGE_WORKSPACE = 6
    FREE_FOREIGN_WORKSPACE = 7
    LEAK_AND_FAIL = 8
    FAIL_IN_PARTS = 9
    FAIL_SILENTLY = 10
    FAIL_IN_LAST_TASK = 11
    MORE_TASKS_THAN_BARRIER_ALLOWS = 12
    MANY_WORKSPACES = 13


THREADS = pytest.mark.parametrize("threads", [1, 2, 4, 9])


def behave(model: Model, behaviour: Behaviour) -> list[int]:
    return model(np.array([behaviour], np.int32))["seen"].tolist()


@THREADS
def test_a_loop_without_a_count_has_one_task_per_thread(behaviours: Path, threads: int) -> None:
    tasks, sum_of_indices, group_size, *_ = behave(load(behaviours, threads), Behaviour.ONE_TASK_PER_THREAD)
    assert (tasks, sum_of_indices, group_size) == (threads, threads * (threads - 1) // 2, threads)


@THREADS
def test_every_task_of_a_counted_loop_runs_once(behaviours: Path, threads: int) -> None:
    assert behave(load(behaviours, threads), Behaviour.FIVE_TASKS)[:3] == [5, 10, 5]


@THREADS
def test_nested_loops_run_serially(behaviours: Path, threads: int) -> None:
    tasks, _, _, outer, *_ = behave(load(behaviours, threads), Behaviour.NESTED_LOOPS)
    assert outer == threads
    # Three of the counted inner loop, and one of the other: nested, "all threads" are one.
    assert tasks == outer * 4


@THREADS
def test_barrier_separates_phases(behaviours: Path, threads: int) -> None:
    assert behave(load(behaviours, threads), Behaviour.BARRIERS)[:2] == [threads, 0]


@THREADS
def test_workspaces_are_aligned_and_disjoint(behaviours: Path, threads: int) -> None:
    model = load(behaviours, threads)
    assert behave(model, Behaviour.WORKSPACES)[:2] == [threads, 0]
    assert model.memory.workspace_bytes == 4096 * threads
    assert behave(model, Behaviour.MANY_WORKSPACES)[0] == 100


@THREADS
@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (Behaviour.FAIL_BEFORE_BARRIER, "RuntimeError: the first task gave up"),
        (Behaviour.HUGE_WORKSPACE, "out of memory: a kernel's workspace needs 18446744073709551515 bytes"),
        (Behaviour.FREE_FOREIGN_WORKSPACE, "freed a workspace that it does not own"),
        (Behaviour.LEAK_AND_FAIL, "RuntimeError: left two blocks behind"),
        (Behaviour.FAIL_IN_PARTS, "ValueError: expected 4 rows, given 5"),
        (Behaviour.FAIL_SILENTLY, "failed with code 7: it gave no reason"),
        (Behaviour.FAIL_IN_LAST_TASK, "ValueError: the last task gave up"),
        (Behaviour.MORE_TASKS_THAN_BARRIER_ALLOWS, "there are more tasks than threads"),
    ],
)
def test_failures_name_kernel_and_reason_and_leave_the_model_usable(
    behaviours: Path, threads: int, behaviour: Behaviour, message: str
) -> None:
    model = load(behaviours, threads)
    for _ in range(2):
        with pytest.raises(RunError) as error:
            behave(model, behaviour)
        assert message in str(error.value)
        assert "behaviours.so: kernel behave (node node_a+node_b)" in str(error.value)
    assert behave(model, Behaviour.BARRIERS)[:2] == [threads, 0]
    assert behave(model, Behaviour.WORKSPACES)[:2] == [threads, 0]


def test_profile_survives_a_failure(behaviours: Path) -> None:
    model = load(behaviours)
    with pytest.raises(RunError, match="gave no reason"):
        model.profile(np.array([Behaviour.FAIL_SILENTLY], np.int32))
    assert len(model.profile(np.array([Behaviour.BARRIERS], np.int32))) == 1
