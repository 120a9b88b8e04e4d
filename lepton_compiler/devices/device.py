"""Device: a place where kernels run, through an agent that is started anew where it has died."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

import numpy as np

from lepton_compiler.core.errors import DeviceError
from lepton_compiler.devices.agent_client import AgentClient, AgentRefusal, MachineReport
from lepton_compiler.devices.arrays import ArraySource, HostArray, SeededArray, StoredArray
from lepton_compiler.devices.byte_stream import ByteStream, StreamClosed, StreamTimeout
from lepton_compiler.devices.protocol import ErrorCode, ProtocolError
from lepton_compiler.devices.trial import Comparison, KernelLibrary, Trial, TrialResult

Result = TypeVar("Result")
Own = TypeVar("Own", bound="Device")

_LOST_CONTACT = (StreamClosed, StreamTimeout, ProtocolError)
_LIBRARIES_KEPT = 32
"""Old libraries are dropped in groups, so that a long search neither fills the device nor asks for each."""


class Device(ABC):
    """A device, reached through one agent at a time. Not for several threads at once.

    What a trial needs is sent when it is missing, once for each agent. Where the agent dies or no longer answers, the
    request in flight raises ``DeviceError``, and the next one starts another agent.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._client: AgentClient | None = None
        self._machine: MachineReport | None = None
        self._present: set[bytes] = set()
        self._libraries: list[bytes] = []

    @abstractmethod
    def _start_agent(self) -> ByteStream:
        """Starts an agent and gives the stream to it.

        Raises:
            DeviceError: It can't be started.
        """

    @abstractmethod
    def _end_agent(self) -> str:
        """Ends what ``_start_agent`` started, dead or alive, and says how it had ended; empty for nothing to say."""

    def describe(self) -> MachineReport:
        """What the device is."""
        return self._ask("was asked what it is", self._hello)

    def status(self) -> dict[str, float]:
        """What its sensors read now."""
        return self._ask("was asked for its status", lambda client: client.status())

    def run(self, trial: Trial) -> TrialResult:
        """Runs a trial; what the candidate does wrong is in the result.

        Raises:
            DeviceError: The device can't be reached, its agent died, or it refused the trial.
        """
        _check_arguments(trial)

        def send_and_run(client: AgentClient) -> TrialResult:
            for source in trial.sources:
                self._bring(client, source)
            self._bring_library(client, trial.library)
            result = client.run(trial)
            self._present.update(kept.key for kept in result.kept if kept is not None)
            return result

        return self._ask("ran a trial", send_and_run)

    def download(self, array: StoredArray | SeededArray | HostArray) -> np.ndarray:
        """The contents of an array as the device has them."""

        def fetch(client: AgentClient) -> np.ndarray:
            self._bring(client, array)
            return client.download(array.key)

        return self._ask("sent an array", fetch)

    def compare(self, array: ArraySource, reference: ArraySource, tolerance: float) -> Comparison:
        """Compares two arrays on the device."""

        def bring_and_compare(client: AgentClient) -> Comparison:
            self._bring(client, array)
            self._bring(client, reference)
            return client.compare(array.key, reference.key, tolerance)

        return self._ask("compared arrays", bring_and_compare)

    def forget(self, arrays: Sequence[ArraySource]) -> None:
        """Gives back the memory of arrays that no later trial needs."""
        keys = [array.key for array in arrays if array.key in self._present]
        if keys:
            self._ask("was told to forget arrays", lambda client: client.drop(keys))
            self._present.difference_update(keys)

    def close(self) -> None:
        """Ends the agent. The next request would start another."""
        self._disconnect()

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, doing: str, request: Callable[[AgentClient], Result]) -> Result:
        try:
            return request(self._connected())
        except _LOST_CONTACT as error:
            ending = self._disconnect()
            raise DeviceError(
                f"contact with {self.name} was lost while it {doing}: {error}{ending and '; ' + ending}; "
                "the next request starts another agent"
            ) from error
        except AgentRefusal as error:
            # What the device lacks although it was sent is sent again the next time.
            if error.code is ErrorCode.MISSING:
                self._present.clear()
                self._libraries.clear()
            raise
        except DeviceError:
            # Found here, with nothing in flight.
            raise
        except BaseException:
            # An interrupt in the middle of a frame: what comes next on this stream is nobody's.
            self._disconnect()
            raise

    def _connected(self) -> AgentClient:
        if self._client is None:
            self._client = AgentClient(self._start_agent())
            self._machine = self._client.hello()
        return self._client

    def _hello(self, client: AgentClient) -> MachineReport:
        self._machine = client.hello()
        return self._machine

    def _disconnect(self) -> str:
        self._present.clear()
        self._libraries.clear()
        client, self._client = self._client, None
        if client is None:
            return ""
        client.close()
        return self._end_agent()

    def _bring(self, client: AgentClient, source: ArraySource) -> None:
        if source.key in self._present:
            return
        if isinstance(source, StoredArray):
            raise DeviceError(
                f"{self.name} no longer has an output that it had kept, for its agent was started anew: run the "
                "trial that made it again"
            )
        if isinstance(source, SeededArray):
            client.generate(source)
        else:
            self._check_frame(len(source.data), "an array")
            client.upload(source)
        self._present.add(source.key)

    def _bring_library(self, client: AgentClient, library: KernelLibrary) -> None:
        if library.key in self._libraries:
            return
        if len(self._libraries) >= _LIBRARIES_KEPT:
            client.drop(self._libraries)
            self._libraries.clear()
        self._check_frame(len(library.code), "a kernel library")
        client.load(library)
        self._libraries.append(library.key)

    def _check_frame(self, size: int, what: str) -> None:
        limit = self._machine.max_frame_bytes if self._machine else 0
        if size + 1024 > limit:
            raise DeviceError(f"{what} of {size} bytes can't be sent to {self.name}, whose agent takes {limit} at once")


def _check_arguments(trial: Trial) -> None:
    parameters = trial.library.parameters
    given = [
        argument.source.type if hasattr(argument, "source") else getattr(argument, "type", None)
        for argument in trial.arguments
    ]
    if given != list(parameters):
        raise DeviceError(f"a kernel with parameters {list(parameters)} was given {given}")
    for output in trial.outputs:
        if output.reference is not None and output.reference.type != output.type:
            raise DeviceError(f"an output of type {output.type} was given a reference of type {output.reference.type}")
