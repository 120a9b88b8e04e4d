"""LocalDevice: this machine, with the agent as a child process pinned to its cores."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence

from lepton_compiler.core.errors import DeviceError
from lepton_compiler.devices.agent_program import agent_program
from lepton_compiler.devices.byte_stream import ByteStream, DescriptorStream
from lepton_compiler.devices.device import Device
from lepton_compiler.targets.registry import native_target

_END_SECONDS = 2.0
"""How long an agent may take to remove its scratch folder."""
_SHOWN_CHARACTERS = 500


class LocalDevice(Device):
    """This machine.

    Args:
        cores: Processors that the agent and its trials run on; None for all that this process may use.
        command: What starts an agent, such as an emulator and a program for it; None for the agent of this machine's
            target, which is built on first use.
    """

    def __init__(self, cores: Sequence[int] | None = None, command: Sequence[str] | None = None) -> None:
        super().__init__("this machine")
        self._cores = tuple(sorted(os.sched_getaffinity(0)) if cores is None else cores)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the device)

    @property
    def process_id(self) -> int | None:
        """That of the running agent, None for none."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """See the base class."""
        super().close()
        self._printed.close()

    def _start_agent(self) -> ByteStream:
        starter = self._command or [str(agent_program(native_target()))]
        command = [*starter, "--cores", ",".join(map(str, self._cores))]
        if self._printed.closed:
            raise DeviceError("the device was closed")
        self._printed.seek(0)
        self._printed.truncate()
        try:
            # A session of its own: Ctrl-C at the terminal is for this process to handle.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(f"the agent {starter[0]} can't be started: {error.strerror}") from error
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        # The stream owns descriptors of its own, and ends the agent's input when it is closed.
        stream = DescriptorStream(os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()))
        process.stdin.close()
        process.stdout.close()
        return stream

    def _end_agent(self) -> str:
        process, self._process = self._process, None
        if process is None:
            return ""
        try:
            code = process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return "it did not end and was killed"
        return _ending(code, self._last_words())

    def _last_words(self) -> str:
        self._printed.seek(0)
        return self._printed.read().decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]


def _ending(code: int, printed: str) -> str:
    if code < 0:
        number = -code
        name = signal.Signals(number).name if number in signal.Signals.__members__.values() else str(number)
        return f"the agent was ended by {name}"
    return f"the agent ended with exit code {code}" + (f" and said: {printed}" if printed else "")
