"""A device is whatever gives a stream of bytes to an agent: here a socket, as a remote shell may use."""

from __future__ import annotations

import socket
import subprocess
import threading
import time

import pytest
from agent_kernels import Behaviour, trial

from lepton_compiler.core.errors import DeviceError
from lepton_compiler.devices.agent_program import agent_program
from lepton_compiler.devices.byte_stream import ByteStream, DescriptorStream
from lepton_compiler.devices.device import Device
from lepton_compiler.devices.protocol import Outcome
from lepton_compiler.devices.trial import Limits, Timing
from lepton_compiler.targets.registry import native_target


class SocketDevice(Device):
    """An agent whose standard input and output are one socket; its process is nobody's child to pin or to signal."""

    def __init__(self) -> None:
        super().__init__("the board")
        self.agents: list[subprocess.Popen[bytes]] = []

    def _start_agent(self) -> ByteStream:
        here, there = socket.socketpair()
        with there:
            self.agents.append(subprocess.Popen([agent_program(native_target())], stdin=there, stdout=there))
        descriptor = here.detach()
        return DescriptorStream(descriptor, descriptor)

    def _end_agent(self) -> str:
        return ""


def test_trials_over_a_socket() -> None:
    with SocketDevice() as device:
        result = device.run(trial(Behaviour.DOUBLE, Timing(3, 0.1)))
        assert result.is_right
        assert result.samples is not None
        assert device.run(trial(Behaviour.CRASH)).outcome is Outcome.CRASHED
    assert device.agents[0].wait(10) == 0


def test_a_closed_socket_ends_the_agent_in_the_middle_of_a_trial() -> None:
    device = SocketDevice()
    device.describe()
    caught: list[DeviceError] = []

    def run() -> None:
        with pytest.raises(DeviceError) as error:
            device.run(trial(Behaviour.LOOP, limits=Limits(60, 256 << 20)))
        caught.append(error.value)

    waiting = threading.Thread(target=run)
    waiting.start()
    time.sleep(0.2)
    device.agents[0].terminate()
    waiting.join(20)
    assert "contact with the board was lost while it ran a trial" in str(caught[0])
    assert device.agents[0].wait(10) == 0
    assert device.run(trial(Behaviour.DOUBLE)).is_right
    device.close()
    assert device.agents[1].wait(10) == 0


def test_an_agent_ends_when_its_socket_is_shut_during_a_trial() -> None:
    here, there = socket.socketpair()
    with there:
        agent = subprocess.Popen([agent_program(native_target())], stdin=there, stdout=there)
    request = trial(Behaviour.LOOP, limits=Limits(60, 256 << 20))
    device = SocketDevice()
    device._start_agent = lambda: DescriptorStream(here.fileno(), here.fileno())  # type: ignore[method-assign]

    def shut() -> None:
        time.sleep(0.3)
        here.shutdown(socket.SHUT_RDWR)

    closing = threading.Thread(target=shut)
    closing.start()
    with pytest.raises(DeviceError, match="was lost while it ran a trial"):
        device.run(request)
    closing.join()
    here.detach()
    assert agent.wait(10) == 0
