"""AgentClient: requests to an agent over any stream, each with its reply and a limit on the wait."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lepton_compiler.core.errors import DeviceError
from lepton_compiler.devices.arrays import ArrayType, HostArray, SeededArray
from lepton_compiler.devices.byte_stream import ByteStream
from lepton_compiler.devices.protocol import (
    HEADER,
    PROTOCOL_VERSION,
    REPLY_BIT,
    REPLY_ERROR,
    ErrorCode,
    Header,
    PayloadReader,
    ProtocolError,
    Request,
    frame,
)
from lepton_compiler.devices.trial import Comparison, KernelLibrary, Trial, TrialResult

_ANSWER_SECONDS = 10.0
"""For requests that compute little, on a busy machine too."""
_SLOWEST_BYTES_PER_SECOND = 1 << 20
"""A slow line to a board, and hashing or computing an array on a slow one."""


class AgentRefusal(DeviceError):
    """The agent answered with an error: the request could not be carried out, and the agent goes on.

    Attributes:
        code: Its kind; None for one that this version doesn't know.
    """

    def __init__(self, request: Request, code: int, text: str) -> None:
        super().__init__(f"the agent refused the request {request.name.lower()}: {text}")
        self.code = ErrorCode(code) if code in ErrorCode.__members__.values() else None


@dataclass(frozen=True)
class MachineReport:
    """What an agent says of its machine.

    Attributes:
        architecture: As ``platform.machine()`` prints it there.
        system: Operating system and its kernel's version.
        processor: Model name; empty where the system gives none.
        cpu_features: By the names of /proc/cpuinfo, as far as the runtime knows them.
        cores: Processors that the agent may use.
        memory_bytes: Installed memory.
        available_bytes: Memory that was free for use; 0 where the system doesn't say.
        max_frame_bytes: Longest payload that the agent takes.
        max_store_bytes: Arrays and libraries together.
        max_trial_bytes: Memory of one trial.
        max_trial_seconds: Time of one trial.
    """

    architecture: str
    system: str
    processor: str
    cpu_features: frozenset[str]
    cores: int
    memory_bytes: int
    available_bytes: int
    max_frame_bytes: int
    max_store_bytes: int
    max_trial_bytes: int
    max_trial_seconds: float


class AgentClient:
    """Speaks to one agent until it ends. Not for several threads at once."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._ids = itertools.count(1)

    def request(self, type_: Request, payload: bytes = b"", seconds: float = _ANSWER_SECONDS) -> bytes:
        """The payload of the reply.

        Args:
            type_: What is asked for.
            payload: As the protocol describes it for this type.
            seconds: How long the agent may work on it; sending and receiving has its time besides.

        Raises:
            AgentRefusal: The agent answered with an error.
            ProtocolError: What came is no reply, or one of another version.
            StreamClosed: The agent has ended.
            StreamTimeout: It did not answer in time.
        """
        id_ = next(self._ids)
        deadline = time.monotonic() + seconds + len(payload) / _SLOWEST_BYTES_PER_SECOND
        self._stream.send(frame(type_, id_, payload), deadline)
        header, reply = self._reply_to(id_, deadline)
        if header.type == REPLY_ERROR:
            reader = PayloadReader(reply)
            raise AgentRefusal(type_, reader.u32(), reader.text())
        if header.type != type_ | REPLY_BIT:
            raise ProtocolError(f"the agent answered the request {type_.name.lower()} with type {header.type:#x}")
        return reply

    def _reply_to(self, id_: int, deadline: float) -> tuple[Header, bytes]:
        while True:
            header = Header.parse(self._stream.receive(HEADER.size, deadline))
            deadline += header.bytes / _SLOWEST_BYTES_PER_SECOND
            payload = self._stream.receive(header.bytes, deadline)
            if header.version != PROTOCOL_VERSION:
                raise ProtocolError(
                    f"the agent speaks version {header.version} of the protocol, this package version "
                    f"{PROTOCOL_VERSION}: install the same version of both"
                )
            if header.id == id_:
                return header, payload
            if header.id == 0:
                reader = PayloadReader(payload)
                _, text = reader.u32(), reader.text()
                raise ProtocolError(f"the agent gave up: {text}")
            if header.id > id_:
                raise ProtocolError(f"the agent answered request {header.id}, which was never sent")
            # An answer to a request that nobody waits for any more.

    def close(self) -> None:
        """Ends the stream."""
        self._stream.close()

    # The requests.

    def hello(self) -> MachineReport:
        """What the machine is."""
        reader = PayloadReader(self.request(Request.HELLO))
        architecture, name, release, processor = (reader.text() for _ in range(4))
        features = frozenset(reader.text() for _ in range(reader.u32()))
        cores = reader.u32()
        memory, available, frame_bytes, store_bytes, trial_bytes, trial_ns = (reader.u64() for _ in range(6))
        reader.end()
        return MachineReport(
            architecture,
            f"{name} {release}",
            processor,
            features,
            cores,
            memory,
            available,
            frame_bytes,
            store_bytes,
            trial_bytes,
            trial_ns / 1e9,
        )

    def status(self) -> dict[str, float]:
        """What sensors read now: ``load_average``, ``temperature_celsius:NAME``, ``frequency_hertz:cpu0``..."""
        reader = PayloadReader(self.request(Request.STATUS))
        found = {}
        for _ in range(reader.u32()):
            name = reader.text()
            found[name] = reader.f64()
        reader.end()
        return found

    def load(self, library: KernelLibrary) -> None:
        """Sends a kernel library."""
        self.request(Request.LOAD, library.key + library.code)

    def generate(self, array: SeededArray) -> None:
        """Has an array made from its seed."""
        seconds = _ANSWER_SECONDS + array.type.bytes / _SLOWEST_BYTES_PER_SECOND
        key = self.request(Request.GENERATE, array.recipe(), seconds)
        if key != array.key:
            raise ProtocolError("the agent and this package disagree on the key of a generated array")

    def upload(self, array: HostArray) -> None:
        """Sends an array."""
        self.request(Request.UPLOAD, array.key + array.type.encode() + array.data)

    def download(self, key: bytes) -> np.ndarray:
        """The contents of an array on the device."""
        reader = PayloadReader(self.request(Request.DOWNLOAD, key))
        type_, data = ArrayType.decode(reader), reader.rest()
        if len(data) != type_.bytes:
            raise ProtocolError(f"the agent sent {len(data)} bytes for an array of {type_.bytes}")
        return np.frombuffer(data, type_.numpy_dtype).reshape(type_.shape).copy()

    def drop(self, keys: Sequence[bytes]) -> int:
        """Forgets arrays and libraries, those that are named or, for none, all; returns how many are left."""
        reader = PayloadReader(self.request(Request.DROP, struct.pack("<I", len(keys)) + b"".join(keys)))
        left = reader.u32()
        reader.end()
        return left

    def compare(self, key: bytes, reference: bytes, tolerance: float) -> Comparison:
        """Compares two arrays on the device."""
        reader = PayloadReader(self.request(Request.COMPARE, key + reference + struct.pack("<d", tolerance), 60.0))
        found = Comparison.decode(reader)
        reader.end()
        return found

    def run(self, trial: Trial) -> TrialResult:
        """Runs a trial whose library and arrays the device has."""
        reply = self.request(Request.RUN, trial.encode(), trial.limits.seconds + _ANSWER_SECONDS)
        return TrialResult.decode(reply, trial.outputs)
