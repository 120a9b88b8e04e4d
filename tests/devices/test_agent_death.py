"""An agent may end at any moment: the request in flight says so, and the next one works on another agent."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from agent_kernels import INPUT, Behaviour, trial

from lepton_compiler.core.errors import DeviceError
from lepton_compiler.devices.arrays import HostArray
from lepton_compiler.devices.local_device import LocalDevice
from lepton_compiler.devices.trial import Limits, Timing

LONG = Timing(samples=1000, min_repeat_ms=5, budget_ms=3000)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where agents make their folders."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def kill_after(device: LocalDevice, seconds: float, number: int = signal.SIGKILL) -> threading.Thread:
    victim = device.process_id
    assert victim is not None

    def kill() -> None:
        time.sleep(seconds)
        os.kill(victim, number)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("milliseconds", [0, 1, 3, 10, 40, 200])
def test_an_agent_killed_during_a_trial(milliseconds: int) -> None:
    with LocalDevice() as device:
        device.describe()
        first = device.process_id
        killer = kill_after(device, milliseconds / 1000)
        with pytest.raises(DeviceError, match="contact with this machine was lost while it") as caught:
            # An agent that answers faster than it is killed is asked again.
            while True:
                device.run(trial(Behaviour.DOUBLE, LONG))
        killer.join()
        assert "the agent was ended by SIGKILL; the next request starts another agent" in str(caught.value)
        assert device.run(trial(Behaviour.DOUBLE)).is_right
        assert device.process_id != first


def test_an_agent_killed_between_requests() -> None:
    with LocalDevice() as device:
        device.run(trial(Behaviour.DOUBLE))
        kill_after(device, 0).join()
        with pytest.raises(DeviceError, match="SIGKILL"):
            device.status()
        assert device.status()
        assert device.run(trial(Behaviour.DOUBLE)).is_right


def test_an_agent_killed_while_it_takes_an_array() -> None:
    array = HostArray(np.zeros(16 << 20, np.uint8))
    with LocalDevice() as device:
        device.describe()
        killer = kill_after(device, 0.005)
        with pytest.raises(DeviceError, match="while it sent an array"):
            while True:
                device.download(array)
                device.forget([array])
        killer.join()
        assert device.download(array).shape == array.values.shape


def test_a_frozen_agent_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lepton_compiler.devices.agent_client._ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("lepton_compiler.devices.local_device._END_SECONDS", 0.3)
    with LocalDevice() as device:
        device.describe()
        frozen = device.process_id
        assert frozen is not None
        os.kill(frozen, signal.SIGSTOP)
        with pytest.raises(DeviceError, match="did not answer in time; it did not end and was killed"):
            device.run(trial(Behaviour.DOUBLE, limits=Limits(0.1, 256 << 20)))
        assert not is_alive(frozen)
        assert device.describe()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_agent_in_order(scratch: Path, number: int) -> None:
    with LocalDevice() as device:
        device.run(trial(Behaviour.DOUBLE))
        assert list(scratch.glob("lepton-agent-*/*.so"))
        kill_after(device, 0.1, number)
        with pytest.raises(DeviceError, match="the agent ended with exit code 0"):
            device.run(trial(Behaviour.LOOP))
        assert not list(scratch.glob("lepton-agent-*"))


def test_the_end_of_the_device_ends_agent_candidate_and_scratch(scratch: Path) -> None:
    device = LocalDevice()
    device.run(trial(Behaviour.DOUBLE))
    agent = device.process_id
    assert agent is not None
    device.close()
    assert not is_alive(agent)
    assert not list(scratch.glob("lepton-agent-*"))
    with pytest.raises(DeviceError, match="the device was closed"):
        device.status()


def children_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 20 seconds"
        time.sleep(0.005)


@pytest.mark.parametrize("attempt", range(20))
def test_a_candidate_ends_with_a_killed_agent_and_the_next_agent_cleans_up(scratch: Path, attempt: int) -> None:
    """Killed as soon as the candidate's process is there: it may not have begun to watch the agent."""
    with LocalDevice() as device:
        device.run(trial(Behaviour.DOUBLE))
        agent = device.process_id
        assert agent is not None
        found: list[int] = []

        def kill_with_candidate() -> None:
            wait_until(lambda: children_of(agent))
            found.extend(children_of(agent))
            os.kill(agent, signal.SIGKILL)

        killer = threading.Thread(target=kill_with_candidate)
        killer.start()
        with pytest.raises(DeviceError, match="SIGKILL"):
            device.run(trial(Behaviour.LOOP))
        killer.join()
        wait_until(lambda: not any(map(is_alive, found)))
        (left,) = scratch.glob("lepton-agent-*")
        assert device.run(trial(Behaviour.DOUBLE)).is_right
        assert not left.exists()
        assert len(list(scratch.glob("lepton-agent-*"))) == 1


def test_the_folder_of_a_living_agent_is_left_alone(scratch: Path) -> None:
    with LocalDevice() as first, LocalDevice() as second:
        first.run(trial(Behaviour.DOUBLE))
        second.run(trial(Behaviour.DOUBLE))
        assert len(list(scratch.glob("lepton-agent-*"))) == 2
        assert first.run(trial(Behaviour.DOUBLE)).is_right


def test_a_kept_output_does_not_outlive_its_agent() -> None:
    with LocalDevice() as device:
        (kept,) = device.run(trial(Behaviour.DOUBLE, keep_outputs=True)).kept
        assert kept is not None
        kill_after(device, 0).join()
        with pytest.raises(DeviceError, match="lost"):
            device.status()
        with pytest.raises(DeviceError, match="run the trial that made it again"):
            device.download(kept)
        np.testing.assert_array_equal(device.download(INPUT), INPUT.values())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/nowhere/lepton-agent"], "/nowhere/lepton-agent can't be started: No such file"),
        (["false"], "ended with exit code 1"),
        (["sh", "-c", "echo hello from another program; exec cat >/dev/null"], "no reply of an agent"),
    ],
)
def test_what_can_not_be_started_is_said(command: list[str], message: str) -> None:
    with LocalDevice(command=command) as device, pytest.raises(DeviceError, match=message):
        device.status()


def test_a_core_that_is_not_there_is_said() -> None:
    with LocalDevice(cores=[1000]) as device, pytest.raises(DeviceError, match="the option --cores 1000 is unknown"):
        device.status()


def test_the_agent_runs_on_its_cores_alone() -> None:
    core = min(os.sched_getaffinity(0))
    with LocalDevice(cores=[core]) as device:
        assert device.describe().cores == 1
        assert device.process_id is not None
        assert os.sched_getaffinity(device.process_id) == {core}


def test_scratch_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", tempfile.gettempdir() + "/nowhere")
    with LocalDevice() as device, pytest.raises(DeviceError, match="no scratch folder can be made"):
        device.status()
