"""Trials: right kernels, wrong ones, and candidates that crash, hang or take all memory lose themselves alone."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from agent_kernels import DOUBLED, FLOATS, INPUT, Behaviour, behaviours, trial

from lepton_compiler.core.errors import DeviceError
from lepton_compiler.devices.agent_client import AgentRefusal
from lepton_compiler.devices.arrays import ArrayType, HostArray
from lepton_compiler.devices.local_device import LocalDevice
from lepton_compiler.devices.protocol import Outcome
from lepton_compiler.devices.trial import Input, KernelLibrary, Limits, Output, Scalar, Timing, Trial

QUICK = Timing(samples=5, min_repeat_ms=0.2)


@pytest.fixture(autouse=True)
def agent_survives(device: LocalDevice):
    """Whatever a trial does, the same agent runs the next one."""
    device.describe()
    before = device.process_id
    yield
    assert device.run(trial(Behaviour.DOUBLE)).is_right
    assert device.process_id == before


def test_a_right_kernel_is_compared_and_timed(device: LocalDevice) -> None:
    result = device.run(trial(Behaviour.DOUBLE, QUICK))
    assert result.outcome is Outcome.OK, result.message
    assert result.message == ""
    (comparison,) = result.comparisons
    assert comparison is not None
    assert (comparison.agrees, comparison.max_error, comparison.mismatched) == (True, 0.0, 0)
    assert comparison.range == float(np.ptp(DOUBLED.values.astype(np.float64)))
    assert result.samples is not None
    assert len(result.samples.wall) == len(result.samples.control_cpu) == 5
    assert (result.samples.wall > 0).all()
    assert (result.samples.control_wall > 0).all()
    assert result.samples.calls > 1
    assert result.peak_bytes > 0


def test_with_flushed_caches_every_call_is_a_sample(device: LocalDevice) -> None:
    result = device.run(trial(Behaviour.DOUBLE, replace(QUICK, flush_bytes=1 << 20)))
    assert result.samples is not None
    assert (result.samples.calls, len(result.samples.wall)) == (1, 5)


def test_sampling_ends_with_its_budget(device: LocalDevice) -> None:
    result = device.run(trial(Behaviour.DOUBLE, Timing(samples=10_000, min_repeat_ms=5, budget_ms=20)))
    assert result.samples is not None
    assert 1 <= len(result.samples.wall) < 10_000


@pytest.mark.parametrize("behaviour", [Behaviour.WRONG_ELEMENT, Behaviour.WRITE_NOTHING])
def test_a_wrong_result_is_found_and_not_timed(device: LocalDevice, behaviour: Behaviour) -> None:
    result = device.run(trial(behaviour, QUICK))
    assert result.outcome is Outcome.WRONG
    assert not result.is_right
    assert result.samples is None
    assert "argument 1 is wrong after the first run" in result.message
    (comparison,) = result.comparisons
    assert comparison is not None
    assert not comparison.agrees
    if behaviour is Behaviour.WRONG_ELEMENT:
        assert comparison.worst == 33 * 7 - 1
        assert comparison.max_error == pytest.approx(1.0, abs=1e-6)
    else:
        assert comparison.mismatched == 33 * 7


def test_a_kernel_that_is_right_only_once_is_found(device: LocalDevice) -> None:
    assert device.run(trial(Behaviour.ACCUMULATE)).is_right
    result = device.run(trial(Behaviour.ACCUMULATE, QUICK))
    assert result.outcome is Outcome.WRONG
    assert "though it was right at first" in result.message
    assert result.samples is None


@pytest.mark.parametrize(
    ("behaviour", "signal"), [(Behaviour.CRASH, 11), (Behaviour.ABORT, 6), (Behaviour.STACK_BLOWUP, 11)]
)
def test_a_crash_says_its_signal(device: LocalDevice, behaviour: Behaviour, signal: int) -> None:
    result = device.run(trial(behaviour, QUICK))
    assert (result.outcome, result.signal) == (Outcome.CRASHED, signal)
    assert f"signal {signal}" in result.message
    assert result.samples is None


def test_a_kernel_that_ends_its_process_is_a_crash(device: LocalDevice) -> None:
    result = device.run(trial(Behaviour.EXIT))
    assert result.outcome is Outcome.CRASHED
    assert result.message == "the candidate's process ended with exit code 0"


def test_an_endless_loop_is_killed_at_its_limit(device: LocalDevice) -> None:
    started = time.monotonic()
    result = device.run(trial(Behaviour.LOOP, limits=Limits(0.2, 256 << 20)))
    assert result.outcome is Outcome.TIMEOUT
    assert result.message == "the candidate was killed at its limit of 200 ms"
    assert 0.2 <= time.monotonic() - started < 10


def test_what_a_candidate_starts_ends_with_it(device: LocalDevice) -> None:
    result = device.run(trial(Behaviour.FORK_AND_LOOP, limits=Limits(0.2, 256 << 20)))
    assert result.outcome is Outcome.TIMEOUT
    deadline = time.monotonic() + 10
    while _busy_agents(device.process_id) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _busy_agents(device.process_id)


def _busy_agents(agent: int | None) -> list[int]:
    """Processes of the agent's program other than the agent, in its session."""
    assert agent is not None
    session = os.getsid(agent)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and int(folder.name) != agent and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def test_workspaces_beyond_the_limit_are_memory(device: LocalDevice) -> None:
    result = device.run(trial(Behaviour.WORKSPACE_BLOWUP, limits=Limits(20.0, 64 << 20)))
    assert result.outcome is Outcome.MEMORY
    assert "out of memory: a kernel's workspace needs 16777216 bytes" in result.message
    assert result.peak_bytes < 256 << 20


def test_a_heap_beyond_the_limit_ends_the_candidate(device: LocalDevice) -> None:
    result = device.run(trial(Behaviour.MALLOC_BLOWUP, limits=Limits(20.0, 64 << 20)))
    assert (result.outcome, result.signal) == (Outcome.CRASHED, 11)
    assert result.peak_bytes < 256 << 20


def test_an_error_of_the_kernel_is_its_message(device: LocalDevice) -> None:
    result = device.run(trial(Behaviour.FAIL))
    assert result.outcome is Outcome.FAILED
    assert "RuntimeError: on purpose" in result.message


def test_a_kernel_that_writes_to_its_input_spoils_no_other_trial(device: LocalDevice) -> None:
    assert device.run(trial(Behaviour.SCRIBBLE_ON_INPUT)).is_right
    np.testing.assert_array_equal(device.download(INPUT), INPUT.values())


def test_a_kernel_that_closes_the_agents_files_loses_itself_alone(device: LocalDevice) -> None:
    assert device.run(trial(Behaviour.CLOSE_EVERYTHING)).outcome is Outcome.CRASHED


def test_what_is_no_library_is_unloadable(device: LocalDevice) -> None:
    for code in (b"", b"\x7fELF but no more", behaviours().code[:700]):
        library = replace(behaviours(), code=code)
        result = device.run(replace(trial(Behaviour.DOUBLE), library=library))
        assert result.outcome in (Outcome.UNLOADABLE, Outcome.CRASHED), code[:20]
        assert result.message


def test_kept_outputs_are_references_of_later_trials(device: LocalDevice) -> None:
    (kept,) = device.run(trial(Behaviour.DOUBLE, keep_outputs=True)).kept
    assert kept is not None
    assert kept.key == DOUBLED.key
    np.testing.assert_array_equal(device.download(kept), DOUBLED.values)
    arguments = (Input(INPUT), Output(FLOATS, kept), Scalar(Behaviour.DOUBLE))
    assert device.run(replace(trial(Behaviour.DOUBLE), arguments=arguments)).is_right
    device.forget([kept])
    with pytest.raises(DeviceError, match="no longer has an output"):
        device.run(replace(trial(Behaviour.DOUBLE), arguments=arguments))


def test_what_fits_no_parameter_is_refused_here(device: LocalDevice) -> None:
    other = HostArray(np.zeros((2, 2), np.float32))
    for arguments in ((), (Input(INPUT),), (Input(other), Output(FLOATS), Scalar(0))):
        with pytest.raises(DeviceError, match="a kernel with parameters"):
            device.run(Trial(behaviours(), arguments))
    with pytest.raises(DeviceError, match="was given a reference of type"):
        device.run(Trial(behaviours(), (Input(INPUT), Output(FLOATS, other), Scalar(0))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, "at least one thread"),
        ({"threads": 10_000}, "a number of threads of 10000 is above"),
        ({"limits": Limits(1e6, 1 << 20)}, "time in nanoseconds"),
        ({"limits": Limits(1, 1 << 60)}, "memory in bytes"),
        ({"limits": Limits(1, 100)}, "outputs and workspaces in bytes of 924 is above the limit of 100"),
        ({"tolerance": -1.0}, "must not be negative"),
        ({"tolerance": float("nan")}, "must not be negative"),
        ({"timing": Timing(flush_bytes=1 << 40)}, "bytes to flush"),
    ],
)
def test_requests_beyond_the_limits_are_refused(device: LocalDevice, changes: dict, message: str) -> None:
    with pytest.raises(AgentRefusal, match=message):
        device.run(replace(trial(Behaviour.DOUBLE), **changes))


def test_too_many_arguments_are_refused(device: LocalDevice) -> None:
    library = KernelLibrary(behaviours().code, (None,) * 65, (), 0)
    with pytest.raises(AgentRefusal, match="a number of arguments of 65 is above the limit of 64"):
        device.run(Trial(library, (Scalar(1),) * 65))


def test_workspaces_follow_the_arguments(device: LocalDevice) -> None:
    """The kernel ignores what stands behind its own arguments."""
    library = replace(behaviours(), workspaces=(ArrayType("float32", (1 << 20,)), ArrayType("int8", ())))
    assert device.run(replace(trial(Behaviour.DOUBLE), library=library)).is_right


def test_old_libraries_are_dropped_and_sent_again(device: LocalDevice) -> None:
    for index in range(70):
        library = replace(behaviours(), code=behaviours().code + bytes([index]))
        assert device.run(replace(trial(Behaviour.DOUBLE), library=library)).is_right
