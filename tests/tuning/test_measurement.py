"""What candidates do wrong becomes a status, and an agent that ends loses one trial at the most."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from agent_kernels import FLOATS, Behaviour, kernel
from tvm import te, tirx

from lepton_compiler.core.errors import DeviceError
from lepton_compiler.devices.agent_client import AgentRefusal
from lepton_compiler.devices.local_device import LocalDevice
from lepton_compiler.devices.protocol import Request
from lepton_compiler.devices.trial import KernelLibrary, Limits, Trial, TrialResult
from lepton_compiler.tuning import measurement
from lepton_compiler.tuning.measurement import Measurer, ReferenceFailure, TimingPlan
from lepton_compiler.tuning.record import Status
from lepton_compiler.tuning.tasks import TuningTask

RIGHT = kernel(Behaviour.DOUBLE)
QUICK = TimingPlan(samples=3, budget_ms=5.0)


def doubling() -> tirx.PrimFunc:
    data = te.placeholder(FLOATS.shape, "float32", name="data")
    return te.create_prim_func([data, te.compute(FLOATS.shape, lambda i, j: data[i, j] * 2.0, name="doubled")])


def new_task(name: str) -> TuningTask:
    return TuningTask(f"w1-{name}", (name,), 1, doubling(), "elementwise", None, (None,), 1)


TASK = new_task("doubling")


@pytest.fixture(scope="module")
def device() -> Iterator[LocalDevice]:
    with LocalDevice() as local:
        yield local


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "_CANDIDATE_LIMITS", Limits(0.3, 64 << 20))
    monkeypatch.setattr(measurement, "_REFERENCE_LIMITS", Limits(0.5, 256 << 20))


@pytest.fixture
def measurer(device: LocalDevice) -> Measurer:
    """With the reference of ``TASK``."""
    result = Measurer(device, QUICK, seed=11)
    result.add_reference(TASK, RIGHT)
    return result


def end_agent(device: LocalDevice) -> None:
    assert device.process_id is not None
    os.kill(device.process_id, signal.SIGKILL)


def test_a_right_candidate_has_times(measurer: Measurer) -> None:
    outcome = measurer.measure(TASK, RIGHT)
    assert outcome.status is Status.OK, outcome.reason
    assert outcome.times is not None
    assert 0 < outcome.times.median_s < 1e-3
    assert outcome.times.samples >= 1


@pytest.mark.parametrize(
    ("behaviour", "status", "reason"),
    [
        (Behaviour.WRONG_ELEMENT, Status.WRONG_RESULT, "of the range, 1e-05 allowed"),
        (Behaviour.WRITE_NOTHING, Status.WRONG_RESULT, "231 elements are finite in one alone"),
        (Behaviour.ACCUMULATE, Status.WRONG_RESULT, "of the range, 1e-05 allowed"),
        (Behaviour.CRASH, Status.CRASH, "signal 11"),
        (Behaviour.EXIT, Status.CRASH, "exit code 0"),
        (Behaviour.FAIL, Status.CRASH, "on purpose"),
        (Behaviour.WORKSPACE_BLOWUP, Status.CRASH, "needs 16777216 bytes"),
        (Behaviour.LOOP, Status.TIMEOUT, "killed at its limit of 300 ms"),
        (Behaviour.FORK_AND_LOOP, Status.TIMEOUT, "killed at its limit"),
    ],
)
def test_what_it_does_wrong_is_its_status(
    measurer: Measurer, behaviour: Behaviour, status: Status, reason: str
) -> None:
    outcome = measurer.measure(TASK, kernel(behaviour))
    assert (outcome.status, outcome.times) == (status, None)
    assert outcome.reason is not None
    assert reason in outcome.reason
    assert measurer.measure(TASK, RIGHT).status is Status.OK


@pytest.mark.parametrize("code", [b"", b"\x7fELF but no more", RIGHT.code[:700]])
def test_a_library_that_can_not_be_loaded_is_no_result(measurer: Measurer, code: bytes) -> None:
    outcome = measurer.measure(TASK, replace(RIGHT, code=code))
    assert outcome.status in (Status.BUILD_FAILURE, Status.CRASH)
    assert outcome.times is None
    assert outcome.reason


def test_an_agent_that_was_killed_gets_the_reference_again(device: LocalDevice, measurer: Measurer) -> None:
    other = new_task("other")
    measurer.add_reference(other, RIGHT)
    before = device.process_id
    end_agent(device)
    assert measurer.measure(TASK, RIGHT).status is Status.OK
    assert device.process_id != before
    assert measurer.measure(TASK, kernel(Behaviour.WRONG_ELEMENT)).status is Status.WRONG_RESULT
    assert measurer.measure(other, kernel(Behaviour.WRONG_ELEMENT)).status is Status.WRONG_RESULT
    assert measurer.measure(other, RIGHT).status is Status.OK


@pytest.mark.parametrize("behaviour", [Behaviour.CRASH, Behaviour.LOOP, Behaviour.FAIL])
def test_a_reference_that_fails_is_said(device: LocalDevice, behaviour: Behaviour) -> None:
    measurer = Measurer(device, QUICK, seed=0)
    with pytest.raises(ReferenceFailure, match="the reference of doubling did not run: "):
        measurer.add_reference(TASK, kernel(behaviour))


def test_a_reference_that_fails_on_the_next_agent_is_said(device: LocalDevice, measurer: Measurer) -> None:
    measurer._references[TASK.workload] = kernel(Behaviour.CRASH)
    end_agent(device)
    with pytest.raises(ReferenceFailure, match="signal 11"):
        measurer.measure(TASK, RIGHT)


class FatalDevice(LocalDevice):
    """Loses its agent to one library, as a candidate that takes all memory of a board does."""

    fatal: KernelLibrary | None = None
    is_gone = False

    def run(self, trial: Trial) -> TrialResult:
        if trial.library is self.fatal:
            self.describe()
            end_agent(self)
        return super().run(trial)

    def _start_agent(self) -> Any:
        if self.is_gone:
            raise DeviceError("the board is switched off")
        return super()._start_agent()


@pytest.fixture
def fatal_device() -> Iterator[FatalDevice]:
    with FatalDevice() as local:
        yield local


def test_a_candidate_that_takes_the_agent_with_it_twice_is_a_crash(fatal_device: FatalDevice) -> None:
    measurer = Measurer(fatal_device, QUICK, seed=0)
    measurer.add_reference(TASK, RIGHT)
    fatal_device.fatal = kernel(Behaviour.SCRIBBLE_ON_INPUT)
    outcome = measurer.measure(TASK, fatal_device.fatal)
    assert outcome.status is Status.CRASH
    assert outcome.reason is not None
    assert "SIGKILL" in outcome.reason
    assert measurer.measure(TASK, RIGHT).status is Status.OK


def test_a_reference_that_takes_the_agent_with_it_is_said(fatal_device: FatalDevice) -> None:
    measurer = Measurer(fatal_device, QUICK, seed=0)
    fatal_device.fatal = kernel(Behaviour.SCRIBBLE_ON_INPUT)
    with pytest.raises(ReferenceFailure, match="SIGKILL"):
        measurer.add_reference(TASK, fatal_device.fatal)
    measurer.add_reference(TASK, RIGHT)


def test_a_device_that_is_gone_ends_the_search(fatal_device: FatalDevice) -> None:
    measurer = Measurer(fatal_device, QUICK, seed=0)
    measurer.add_reference(TASK, RIGHT)
    end_agent(fatal_device)
    fatal_device.is_gone = True
    with pytest.raises(DeviceError, match="the board is switched off"):
        measurer.measure(TASK, RIGHT)


def test_an_agent_whose_store_is_full_is_emptied(device: LocalDevice, measurer: Measurer, monkeypatch) -> None:
    refusals = [AgentRefusal(Request.GENERATE, 0, "the store is full")]
    original = device.run

    def run(trial: Trial) -> TrialResult:
        if refusals:
            raise refusals.pop()
        return original(trial)

    monkeypatch.setattr(device, "run", run)
    kept = measurer._outputs[TASK.workload][0]
    assert kept.key in device._present
    assert measurer.measure(TASK, kernel(Behaviour.WRONG_ELEMENT)).status is Status.WRONG_RESULT
    assert not refusals


def test_the_seed_decides_the_inputs(device: LocalDevice) -> None:
    one, again, other = (Measurer(device, QUICK, seed) for seed in (1, 1, 2))
    for measurer in (one, again, other):
        measurer.add_reference(TASK, RIGHT)
    keys = [measurer._outputs[TASK.workload][0].key for measurer in (one, again, other)]
    assert keys[0] == keys[1] != keys[2]
