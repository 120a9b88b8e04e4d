"""The agent's protocol as Python sees it: numbers, frames, and payloads read with every length checked.

``csrc/protocol.h`` holds the same numbers, and a test compares; ``docs/agent_protocol.md`` describes them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from lepton_compiler.core.errors import DeviceError

MAGIC = int.from_bytes(b"LPAG", "little")
PROTOCOL_VERSION = 1
HEADER = struct.Struct("<IHHQQ")
"""Magic, version, type, id, bytes of the payload."""
KEY_BYTES = 32
REPLY_BIT = 0x8000
REPLY_ERROR = 0xFFFF
MAX_REPLY_BYTES = 256 << 20
"""No agent's limit on a frame is higher."""
MAX_ARGUMENTS = 64
MAX_SAMPLES = 10000
KEEP_OUTPUTS = 1


class Request(IntEnum):
    """Types of requests."""

    HELLO = 1
    LOAD = 2
    GENERATE = 3
    UPLOAD = 4
    DOWNLOAD = 5
    DROP = 6
    COMPARE = 7
    RUN = 8
    STATUS = 9


class ErrorCode(IntEnum):
    """Why an agent refuses a request."""

    MALFORMED = 1
    VERSION = 2
    UNKNOWN = 3
    LIMIT = 4
    MISSING = 5
    HASH = 6
    MEMORY = 7
    SYSTEM = 8


class Outcome(IntEnum):
    """How a trial ended."""

    OK = 0
    WRONG = 1
    CRASHED = 2
    TIMEOUT = 3
    MEMORY = 4
    FAILED = 5
    UNLOADABLE = 6


class Role(IntEnum):
    """What an argument of a kernel is."""

    INPUT = 0
    OUTPUT = 1
    WORKSPACE = 2
    SCALAR = 3


class ProtocolError(DeviceError):
    """What came from the device is no reply of this protocol."""


@dataclass(frozen=True)
class Header:
    """What stands before a payload."""

    version: int
    type: int
    id: int
    bytes: int

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Reads and checks 24 bytes.

        Raises:
            ProtocolError: They are no header of a reply.
        """
        magic, version, type_, id_, length = HEADER.unpack(data)
        if magic != MAGIC:
            raise ProtocolError(f"the device sent {data!r}, which is no reply of an agent; is another program running?")
        if length > MAX_REPLY_BYTES:
            raise ProtocolError(f"the device announced a reply of {length} bytes, more than any agent sends")
        return cls(version, type_, id_, length)


def frame(type_: int, id_: int, payload: bytes, version: int = PROTOCOL_VERSION) -> bytes:
    """A request's bytes."""
    return HEADER.pack(MAGIC, version, type_, id_, len(payload)) + payload


class PayloadReader:
    """Reads values one after the other.

    Every method raises ``ProtocolError`` where the payload is too short.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        end = self._position + count
        if end > len(self._data):
            raise ProtocolError("the device sent a reply that is too short for what it should hold")
        part = self._data[self._position : end]
        self._position = end
        return part

    def _value(self, form: str) -> int | float:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def u8(self) -> int:
        """An unsigned byte."""
        return int(self._value("B"))

    def u32(self) -> int:
        """Four bytes."""
        return int(self._value("I"))

    def u64(self) -> int:
        """Eight bytes."""
        return int(self._value("Q"))

    def f64(self) -> float:
        """A double."""
        return float(self._value("d"))

    def text(self) -> str:
        """A length and that many bytes of UTF-8."""
        return self.take(self.u32()).decode(errors="replace")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._position)

    def end(self) -> None:
        """Checks that nothing is left."""
        if self._position != len(self._data):
            raise ProtocolError("the device sent a reply that is longer than what it should hold")
